"""Downloading a dataset, or unpacking local archives, into a folder that other commands read.

Temporary files are in ``.pointssl-download`` below that folder. It is locked while it is in use,
kept if the program ends early, and removed at the end.
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
from pointssl_datasets.downloading.fetch import Fetched, RetryPolicy, fetch
from pointssl_datasets.downloading.install import compare_with_official, find_installed, install
from pointssl_datasets.downloading.parts import remove
from pointssl_datasets.serving.finding import find_dataset

WORK = ".pointssl-download"
_EXPANSION = 5  # assumed ratio of unpacked to packed size, if the catalogue has none


def downloadable_entry(name: str) -> Entry:
    """The catalogue entry of a dataset that can be downloaded or unpacked.

    Raises:
        UsageError: the name is unknown, or there is nothing to download.
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
    accept_terms: Callable[[], None] = lambda: None,
    keep_archive: bool = False,
    progress: bool = False,
    retries: RetryPolicy = RetryPolicy(),
    say: Callable[[str], None] = print,
) -> Path:
    """Downloads, verifies and unpacks the dataset ``name``; returns its folder, below ``root``.

    Args:
        archives: local archives to use instead of a download; they are never deleted.
        mirrors: addresses to try before the known ones. If the file name is that of another known
            archive of the dataset, that archive is downloaded.
        accept_terms: called before anything is downloaded or written; raises if the terms are not
            accepted.
        keep_archive: keep the downloaded archives in ``root``.
        progress: show progress bars.
        retries: timeout and number of attempts.
        say: called with each line about what is happening.

    Raises:
        UsageError: there is nothing to download, or only by hand.
        UserError: all mirrors failed, or the folder can't be written.
        DataError: an archive is damaged, or does not have the dataset's layout.
    """
    entry = downloadable_entry(name)
    if installed := _installed(name, root, say):
        return installed
    needed = [] if archives else _needed_archives(name, entry, mirrors)
    accept_terms()
    root.mkdir(parents=True, exist_ok=True)
    target, work = root / entry.folder, root / WORK / entry.folder
    with _working_folder(work, say):
        if installed := _installed(name, root, say):  # another process finished it meanwhile
            return installed
        _remove_unpacked(work)
        _check_space(work, entry, needed, archives)
        complete = [_local_archive(path, entry, say) for path in archives]
        for archive, urls in needed:
            complete.append(fetch(archive, urls, work, retries=retries, progress=progress, say=say))
        for fetched in complete:
            comparison = (
                f"matches the published {fetched.checked}"
                if fetched.checked
                else "no checksum is published to compare with"
            )
            say(
                f"{fetched.path.name}: {fetched.size:,} bytes, {comparison}; its SHA-256 "
                f"is {fetched.sha256}"
            )
        try:
            install(name, entry, complete, work, target, progress)
        except DataError:
            for fetched in complete:  # without a checksum the download may be at fault: repeat it
                if not archives and not fetched.checked:
                    remove(fetched.path)
            _remove_unpacked(work)
            raise
        if keep_archive and not archives:
            for fetched in complete:
                _keep(fetched.path, root / fetched.path.name, say)
        shutil.rmtree(work, ignore_errors=True)
    say(f"{name}: {compare_with_official(find_dataset(name, target))}")
    return target


@contextlib.contextmanager
def _working_folder(work: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Makes and locks the folder; at the end it and its parent are removed if they are empty."""
    try:
        with locked(work, say):
            try:
                yield
            finally:  # before another process can lock it
                with contextlib.suppress(OSError):
                    work.rmdir()
    finally:
        with contextlib.suppress(OSError):  # others may use it
            work.parent.rmdir()


def _keep(fetched: Path, place: Path, say: Callable[[str], None]) -> None:
    """Moves a downloaded archive to ``place``, unless that exists."""
    if place.exists():
        say(f"{place} exists already: the downloaded archive is not kept")
    else:
        os.replace(fetched, place)


def _installed(name: str, root: Path, say: Callable[[str], None]) -> Path | None:
    """The folder of the dataset, if it is installed already."""
    local = find_installed(name, root)
    if local is None:
        return None
    say(f"{name} is already installed: {local}")
    return local.folder


def _needed_archives(
    name: str, entry: Entry, mirrors: Sequence[str]
) -> list[tuple[Archive, tuple[str, ...]]]:
    """Each archive that is needed, with its addresses in the order in which they are tried."""
    for url in mirrors:
        if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
            raise UsageError(
                f"--mirror {url}: only http:// and https:// addresses; pass a file with --from"
            )
    by_name = {archive.file_name: archive for archive in (*entry.archives, *entry.others)}
    given: dict[str, list[str]] = {}  # file name -> addresses from the user
    for url in mirrors:
        given.setdefault(_file_name(url), []).append(url)
    needed = list(entry.archives)
    if given and not any(archive.file_name in given for archive in needed):
        # Another known archive, an unknown one, or the only one under another name.
        known = [by_name[file] for file in given if file in by_name]
        if known or not needed:
            needed = known or [Archive(file_name=file) for file in given]
        elif len(needed) == 1:
            given[needed[0].file_name] = list(mirrors)
        else:
            files = ", ".join(archive.file_name for archive in needed)
            raise UsageError(f"--mirror {mirrors[0]}: its file is not one of {files}")
    if not needed:
        raise UsageError(
            f"{name} can't be downloaded automatically. {entry.how.rstrip('.')}. If you have the "
            f"archive, `pointssl data download {name} --from ARCHIVE` unpacks it."
        )
    return [(a, tuple(dict.fromkeys((*given.get(a.file_name, ()), *a.urls)))) for a in needed]


def _file_name(url: str) -> str:
    """The last part of an address, as a valid file name."""
    last = urllib.parse.unquote(urllib.parse.urlsplit(url).path).rpartition("/")[2]
    return re.sub(r"[^\w.-]", "_", last).lstrip(".") or "archive"


def _local_archive(path: Path, entry: Entry, say: Callable[[str], None]) -> Fetched:
    """An archive that the user supplied.

    If it has the published size, it must have the published checksum. Otherwise somebody may have
    repacked it, and only its content is checked, later.
    """
    path = path.expanduser()
    if not path.is_file():
        state = "is a folder: pass the archive" if path.is_dir() else "no such file"
        raise UserError(f"--from {path}: {state}")
    size = path.stat().st_size
    known = [a for a in (*entry.archives, *entry.others) if a.file_name == path.name]
    published = known[0] if known else Archive(file_name=path.name)
    if published.size not in (None, size):
        say(f"{path}: {size:,} bytes instead of {published.size:,}: not the published archive")
        published = Archive(file_name=path.name)
    try:
        sha256, checked = check(published, path)
    except ValueError as error:
        if published.size is not None:
            raise DataError(f"{path}: damaged: {error}. Get it again.") from None
        say(f"{path}: {error}: not the published archive")
        sha256, checked = check(Archive(file_name=path.name), path)
    except OSError as error:
        raise UserError(f"--from {path}: {error.strerror}") from None
    return Fetched(path, str(path.resolve()), size, sha256, checked)


def _check_space(
    work: Path,
    entry: Entry,
    needed: Sequence[tuple[Archive, tuple[str, ...]]],
    local: Sequence[Path],
) -> None:
    """Raises :class:`UserError` if the disk is too small for the archives and their content."""
    packed = sum(archive.size or 0 for archive, _ in needed)
    sizes = packed + sum(path.stat().st_size for path in local if path.is_file())
    unpacked = int(entry.gigabytes * 1e9) if entry.gigabytes else _EXPANSION * sizes
    if local:  # these may be only a part of the dataset; unpacking checks the space again
        unpacked = min(unpacked, sizes)
    present = sum(path.stat().st_size for path in work.iterdir() if path.is_file())
    required = max(packed - present, 0) + unpacked
    free = shutil.disk_usage(work).free
    if required > free:
        raise UserError(
            f"{work.parent.parent}: about {required / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB "
            "are free. Free some space, or choose another folder with --to."
        )


def _remove_unpacked(work: Path) -> None:
    """Removes folders that a killed process left half unpacked; partial downloads are kept."""
    for path in work.iterdir():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
