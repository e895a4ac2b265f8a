"""One file over HTTP: continued where it broke off, from the first mirror that has it whole."""

import hashlib
import json
import os
import re
import shutil
import ssl
import time
import urllib.error
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from pointssl_datasets.base.errors import UserError
from pointssl_datasets.catalogue import Archive
from pointssl_datasets.downloading.archives import kind
from pointssl_datasets.downloading.checksum import check
from pointssl_datasets.downloading.parts import forget, note_of, read_note, size_of
from pointssl_datasets.downloading.web import Broken, Refused, ask, host

MOST_BYTES = 256 * 2**30  # no archive is larger: for servers that never stop sending
SLOWEST = 1024  # bytes per second, over one timeout; slower is as good as broken off
_CHUNK = 2**20
_PROGRESS = 2**16
_LONGEST_WAIT = 60.0


class Patience(NamedTuple):
    """How long a server is waited for, and how often it is asked again."""

    timeout: float = 30.0  # seconds without an answer
    attempts: int = 5  # in a row that bring less than 64 KiB
    wait: float = 1.0  # seconds before the second attempt; doubles each time


class Fetched(NamedTuple):
    """A file that is here whole, and how we know."""

    path: Path
    origin: str  # the address, or the path of the user's own
    size: int
    sha256: str
    checked: str  # "sha256", "md5", or "" where nobody published a checksum


def fetch(
    archive: Archive,
    urls: Sequence[str],
    folder: Path,
    *,
    patience: Patience = Patience(),
    progress: bool = False,
    say: Callable[[str], None] = print,
) -> Fetched:
    """``folder/archive.file_name``, from the first of ``urls`` that has it whole and right.

    What has arrived when a connection breaks, or the program ends, lies in ``*.part`` and is
    continued, if the server still has the same file (its ``ETag`` or ``Last-Modified``).

    Args:
        say: told what goes on, a line at a time.

    Raises:
        UserError: no mirror has it (each is named, with what is wrong), or the disk is full.
    """
    path = folder / archive.file_name
    if (whole := _whole(archive, path)) is not None:
        return whole
    failures = []
    for url in urls:
        # A part belongs to its address: two mirrors need not have the same file.
        mark = hashlib.sha256(url.encode()).hexdigest()[:8]
        part = folder / f"{archive.file_name}.{mark}.part"
        try:
            size, sha256, checked = _from_mirror(archive, url, part, patience, progress, say)
        except Refused as why:
            failures.append(f"{url}: {why}")
            say(failures[-1])
            continue
        known = {"url": url, "sha256": sha256}
        note_of(path).write_text(json.dumps(known), encoding="utf-8")
        os.replace(part, path)
        note_of(part).unlink(missing_ok=True)
        return Fetched(path, url, size, sha256, checked)
    raise UserError(
        f"{archive.file_name}: no mirror has it: {'; '.join(failures)}. Get it by hand and give it "
        "with --from, or name another address with --mirror."
    )


def _whole(archive: Archive, path: Path) -> Fetched | None:
    """What an earlier run fetched and could not unpack any more, if it is still right."""
    noted = read_note(path)
    if not path.is_file() or not noted:
        return None
    try:
        sha256, checked = check(archive, path)
    except ValueError:
        return None
    if sha256 != noted.get("sha256"):
        return None
    return Fetched(path, str(noted.get("url")), size_of(path), sha256, checked)


def _from_mirror(
    archive: Archive,
    url: str,
    part: Path,
    patience: Patience,
    progress: bool,
    say: Callable[[str], None],
) -> tuple[int, str, str]:
    """Fills ``part``; its size and what :func:`check` says."""
    failed = 0
    trusted = True
    while True:
        before = size_of(part)
        try:
            _attempt(archive, url, part, patience.timeout, progress, trusted)
            return _verified(archive, part, continued=before > 0)
        except Broken as why:
            failed = 0 if size_of(part) - before >= _PROGRESS else failed + 1
            if failed >= patience.attempts:
                raise Refused(f"{why} ({failed} attempts)") from None
            wait = min(patience.wait * 2 ** max(failed - 1, 0), _LONGEST_WAIT)
            say(f"{host(url)}: {why}; asking again in {wait:.0f} s")
            time.sleep(wait)
        except ssl.SSLCertVerificationError as error:
            if not archive.sha256 or not trusted:
                raise Refused(
                    f"its certificate is not valid ({error.verify_message}), and no SHA-256 of "
                    "the archive is published that would make up for it"
                ) from None
            trusted = False  # nobody can forge the archive: its SHA-256 is known
            say(
                f"{host(url)} has no valid certificate ({error.verify_message}): going on, as the "
                "SHA-256 of the archive is known and is compared"
            )


def _verified(archive: Archive, part: Path, *, continued: bool) -> tuple[int, str, str]:
    """What is here whole is right, or is deleted."""
    size = size_of(part)
    try:
        if archive.size is not None and size != archive.size:
            raise ValueError(f"it sent {size:,} bytes, published are {archive.size:,}")
        if kind(part) is None:
            raise ValueError("it sent no archive, perhaps a web page")
        return size, *check(archive, part)
    except ValueError as why:
        forget(part)
        # A part that was continued may be of two versions; one that was not is just wrong.
        raise (Broken if continued else Refused)(str(why)) from None


def _attempt(
    archive: Archive, url: str, part: Path, timeout: float, progress: bool, trusted: bool
) -> None:
    """One request, for what is missing of ``part``."""
    noted = read_note(part)
    have = size_of(part) if noted.get("validator") else 0
    if have and have == noted.get("total"):
        return
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": noted["validator"]}

    def use(answer: Any) -> None:
        start, total = _begin(answer, have, noted, archive, part)
        _receive(answer, part, start, total, archive, timeout, progress)

    try:
        ask(url, headers, use, timeout=timeout, trusted=trusted)
    except urllib.error.HTTPError:  # 416: it has become shorter
        forget(part)
        raise Broken("has another file than before") from None


def _begin(
    answer: Any, have: int, noted: dict[str, Any], archive: Archive, part: Path
) -> tuple[int, int | None]:
    """From which byte on the answer goes, and how many the whole has, if it says so.

    Notes beside ``part`` what is needed to continue it.
    """
    encoding = answer.headers.get("Content-Encoding", "identity").lower()
    packed = archive.file_name.endswith(("gz", "bz2", "xz"))  # some servers name the file's own
    if encoding != "identity" and not packed:
        raise Refused(f"sends it with Content-Encoding {encoding}, though that was not asked for")
    length = answer.headers.get("Content-Length", "")
    total = int(length) if length.isdecimal() else None
    if answer.status == 206 and have:
        found = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", answer.headers.get("Content-Range", ""))
        if not found or int(found[1]) != have or int(found[2]) != noted.get("total", int(found[2])):
            forget(part)
            raise Broken("sends another part than was asked for")
        total = int(found[2])
    elif answer.status == 200:
        have = 0  # it takes no ranges, or has another file by now
    else:
        raise Refused(f"answers {answer.status} {answer.reason}")
    if total is not None and archive.size is not None and total != archive.size:
        raise Refused(f"offers {total:,} bytes, published are {archive.size:,}")
    if total is not None and total > MOST_BYTES:
        raise Refused(f"offers {total:,} bytes, which is too much")
    free = shutil.disk_usage(part.parent).free
    if total is not None and total - have > free:
        raise UserError(
            f"{part.parent}: {total - have:,} bytes are to come, {free:,} are free. Free some "
            "space, or name another folder with --to."
        )
    if have == 0:
        etag = answer.headers.get("ETag", "")
        strong = etag if etag.startswith('"') else ""
        validator = strong or answer.headers.get("Last-Modified", "")
        known = {"url": answer.url, "validator": validator}
        if total is not None:
            known["total"] = total
        note_of(part).write_text(json.dumps(known), encoding="utf-8")
    return have, total


def _receive(
    answer: Any,
    part: Path,
    have: int,
    total: int | None,
    archive: Archive,
    timeout: float,
    progress: bool,
) -> None:
    most = archive.size or total or MOST_BYTES
    since, lately = time.monotonic(), 0
    with (
        part.open("ab" if have else "wb") as file,
        tqdm(
            total=total,
            initial=have,
            desc=archive.file_name,
            unit="B",
            unit_scale=True,
            disable=None if progress else True,
            leave=False,
        ) as bar,
    ):
        while block := answer.read1(_CHUNK):
            have += len(block)
            if have > most:
                forget(part)
                raise Refused(f"does not stop after {most:,} bytes")
            file.write(block)
            bar.update(len(block))
            lately += len(block)
            if (elapsed := time.monotonic() - since) > timeout:
                if lately < SLOWEST * elapsed:
                    raise Broken(f"sends less than {SLOWEST} bytes a second")
                since, lately = time.monotonic(), 0
    if total is not None and have < total:
        raise Broken(f"broke off after {have:,} of {total:,} bytes")
