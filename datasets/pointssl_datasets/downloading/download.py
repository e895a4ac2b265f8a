"""Datasets from the net, or from archives that are here, into a folder that commands read.

Everything temporary lies in ``.pointssl-download`` below that folder: it is locked while somebody
works there, kept when the program ends early, and removed when all is done.
"""

import contextlib
import os
import re
import shutil
import urllib.parse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from pointssl_datasets.base.errors import DataError, UsageError, UserError
from pointssl_datasets.base.locking import locked
from pointssl_datasets.catalogue import Archive, Entry, find_entry
from pointssl_datasets.downloading.checksum import check
from pointssl_datasets.downloading.fetch import Fetched, Patience, fetch
from pointssl_datasets.downloading.install import already, compared, install
from pointssl_datasets.downloading.parts import forget
from pointssl_datasets.serving.finding import find

WORK = ".pointssl-download"
_EXPANDS = 5  # unpacked to packed, where nobody says


def entry_of(name: str) -> Entry:
    """What the catalogue says of a dataset that can be downloaded or unpacked.

    Raises:
        UsageError: the name is unknown, or there is nothing to get.
    """
    entry = find_entry(name)
    if entry.origin in ("generated", "your own"):
        raise UsageError(f"{name}: there is nothing to download. {entry.how}")
    return entry


def download(
    name: str,
    root: Path,
    *,
    archives: Sequence[Path] = (),
    mirrors: Sequence[str] = (),
    agree: Callable[[], None] = lambda: None,
    keep_archive: bool = False,
    progress: bool = False,
    patience: Patience = Patience(),
    say: Callable[[str], None] = print,
) -> Path:
    """The dataset ``name`` in a folder below ``root``: fetched, checked, unpacked, opened once.

    Args:
        archives: the user's own, instead of the net; they are never deleted.
        mirrors: addresses to try before the known ones; one whose file is another known archive of
            the dataset fetches that one.
        agree: called before anything is fetched or written; raises if the terms are not accepted.
        keep_archive: leave what was fetched in ``root``.
        say: told what goes on, a line at a time.

    Raises:
        UsageError: there is nothing to download, or only by hand.
        UserError: no mirror has it, or the folder can't be written.
        DataError: an archive is damaged, or does not hold the dataset's layout.
    """
    entry = entry_of(name)
    if there := _already(name, root, say):
        return there
    wanted = [] if archives else _wanted(name, entry, mirrors)
    agree()
    root.mkdir(parents=True, exist_ok=True)
    target, work = root / entry.folder, root / WORK / entry.folder
    with _at_work(work, say):
        if there := _already(name, root, say):  # somebody finished it while we waited
            return there
        _clear(work)
        _check_space(work, entry, wanted, archives)
        here = [_own(path, entry, say) for path in archives]
        for archive, urls in wanted:
            here.append(fetch(archive, urls, work, patience=patience, progress=progress, say=say))
        for fetched in here:
            beside = (
                f"as the published {fetched.checked} says"
                if fetched.checked
                else "no checksum is published to compare with"
            )
            say(
                f"{fetched.path.name}: {fetched.size:,} bytes, {beside}; its SHA-256 "
                f"is {fetched.sha256}"
            )
        try:
            install(name, entry, here, work, target, progress)
        except DataError:
            for fetched in here:  # what nobody can vouch for is fetched anew the next time
                if not archives and not fetched.checked:
                    forget(fetched.path)
            _clear(work)
            raise
        if keep_archive and not archives:
            for fetched in here:
                _keep(fetched.path, root / fetched.path.name, say)
        shutil.rmtree(work, ignore_errors=True)
    say(f"{name}: {compared(find(name, target))}")
    return target


@contextlib.contextmanager
def _at_work(work: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Locks the folder, which is made; then it and the one above are removed if nothing is left."""
    try:
        with locked(work, say):
            try:
                yield
            finally:  # before another process can lock it
                with contextlib.suppress(OSError):
                    work.rmdir()
    finally:
        with contextlib.suppress(OSError):  # others are at work there
            work.parent.rmdir()


def _keep(fetched: Path, place: Path, say: Callable[[str], None]) -> None:
    """Moves a fetched archive to where the user finds it, unless something lies there."""
    if place.exists():
        say(f"{place} exists already: the archive that was fetched is not kept")
    else:
        os.replace(fetched, place)


def _already(name: str, root: Path, say: Callable[[str], None]) -> Path | None:
    found = already(name, root)
    if found is None:
        return None
    say(f"{name} is already there: {found}")
    return found.folder


def _wanted(
    name: str, entry: Entry, mirrors: Sequence[str]
) -> list[tuple[Archive, tuple[str, ...]]]:
    """Every archive that is needed, with its addresses in the order of trying."""
    for url in mirrors:
        if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
            raise UsageError(
                f"--mirror {url}: only http:// and https:// addresses; a file is given with --from"
            )
    by_name = {archive.file_name: archive for archive in (*entry.archives, *entry.others)}
    named: dict[str, list[str]] = {}
    for url in mirrors:
        named.setdefault(_file_name(url), []).append(url)
    needed = list(entry.archives)
    if named and not any(archive.file_name in named for archive in needed):
        # Another known archive, one that we know nothing of, or another name for the only one.
        known = [by_name[file] for file in named if file in by_name]
        if known or not needed:
            needed = known or [Archive(file_name=file) for file in named]
        elif len(needed) == 1:
            named[needed[0].file_name] = list(mirrors)
        else:
            files = ", ".join(archive.file_name for archive in needed)
            raise UsageError(f"--mirror {mirrors[0]}: its file is none of {files}")
    if not needed:
        raise UsageError(
            f"{name} can't be fetched just so. {entry.how.rstrip('.')}. An archive that you have "
            f"is unpacked by `pointssl data download {name} --from ARCHIVE`."
        )
    mine = {archive.file_name: named.get(archive.file_name, ()) for archive in needed}
    return [(a, tuple(dict.fromkeys((*mine[a.file_name], *a.urls)))) for a in needed]


def _file_name(url: str) -> str:
    """The last part of an address, fit to be a file's name."""
    last = urllib.parse.unquote(urllib.parse.urlsplit(url).path).rpartition("/")[2]
    return re.sub(r"[^\w.-]", "_", last).lstrip(".") or "archive"


def _own(path: Path, entry: Entry, say: Callable[[str], None]) -> Fetched:
    """An archive of the user's. One of the published size must have the published checksum; any
    other may be one that somebody packed anew, and its content will tell."""
    path = path.expanduser()
    if not path.is_file():
        state = "is a folder: give the archive" if path.is_dir() else "no such file"
        raise UserError(f"--from {path}: {state}")
    size = path.stat().st_size
    known = [a for a in (*entry.archives, *entry.others) if a.file_name == path.name]
    published = known[0] if known else Archive(file_name=path.name)
    if published.size not in (None, size):
        say(f"{path}: {size:,} bytes, published are {published.size:,}: not the published archive")
        published = Archive(file_name=path.name)
    try:
        sha256, checked = check(published, path)
    except ValueError as why:
        if published.size is not None:
            raise DataError(f"{path}: damaged: {why}. Get it again.") from None
        say(f"{path}: {why}: not the published archive")
        sha256, checked = check(Archive(file_name=path.name), path)
    except OSError as error:
        raise UserError(f"--from {path}: {error.strerror}") from None
    return Fetched(path, str(path.resolve()), size, sha256, checked)


def _check_space(
    work: Path,
    entry: Entry,
    wanted: Sequence[tuple[Archive, tuple[str, ...]]],
    own: Sequence[Path],
) -> None:
    packed = sum(archive.size or 0 for archive, _ in wanted)
    sizes = packed + sum(path.stat().st_size for path in own if path.is_file())
    unpacked = int(entry.gigabytes * 1e9) if entry.gigabytes else _EXPANDS * sizes
    if own:  # a part of the dataset, perhaps: what it holds is known when it is unpacked
        unpacked = min(unpacked, sizes)
    present = sum(path.stat().st_size for path in work.iterdir() if path.is_file())
    need = max(packed - present, 0) + unpacked
    free = shutil.disk_usage(work).free
    if need > free:
        raise UserError(
            f"{work.parent.parent}: about {need / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB are "
            "free. Free some space, or name another folder with --to."
        )


def _clear(work: Path) -> None:
    """Removes what a killed process left half unpacked; parts of downloads stay."""
    for path in work.iterdir():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
