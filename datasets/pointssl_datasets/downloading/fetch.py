"""Downloading one file over HTTP, resumed where it broke off, from the first mirror that works."""

import hashlib
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
from pointssl_datasets.downloading.archives import archive_format
from pointssl_datasets.downloading.checksum import check
from pointssl_datasets.downloading.parts import (
    metadata_path,
    read_metadata,
    remove,
    size_of,
    write_metadata,
)
from pointssl_datasets.downloading.web import MirrorError, TransientError, host, request

MAX_BYTES = 256 * 2**30  # no archive is larger; against servers that never stop sending
MIN_SPEED = 1024  # bytes per second, over one timeout; anything slower counts as broken off
_CHUNK = 2**20
_PROGRESS = 2**16  # bytes; an attempt that brings fewer has failed
_MAX_WAIT = 60.0  # seconds between attempts


class RetryPolicy(NamedTuple):
    """When a request times out, and how often it is repeated."""

    timeout: float = 30.0  # seconds without a byte
    attempts: int = 5  # in a row that bring less than 64 KiB
    wait: float = 1.0  # seconds before the second attempt; doubles each time


class Fetched(NamedTuple):
    """A complete and verified archive."""

    path: Path
    origin: str  # its address, or the path if the user supplied it
    size: int  # bytes
    sha256: str
    checked: str  # the checksum that was compared: "sha256", "md5", or "" if none is published


def fetch(
    archive: Archive,
    urls: Sequence[str],
    folder: Path,
    *,
    retries: RetryPolicy = RetryPolicy(),
    progress: bool = False,
    say: Callable[[str], None] = print,
) -> Fetched:
    """``folder/archive.file_name``, from the first of ``urls`` that has it complete and correct.

    What has arrived when a connection breaks, or the program ends, is kept in ``*.part``. The
    download resumes there if the server still has the same file (``ETag`` or ``Last-Modified``).

    Args:
        archive: the file, with its published size and checksum.
        urls: addresses, in the order in which they are tried.
        folder: where to put the file.
        retries: timeout and number of attempts.
        progress: show a progress bar.
        say: called with each line about what is happening.

    Raises:
        UserError: all mirrors failed (the message has each error), or the disk is full.
    """
    path = folder / archive.file_name
    if (complete := _complete(archive, path)) is not None:
        return complete
    failures = []
    for url in urls:
        # A part belongs to one address, as two mirrors may have different files.
        mark = hashlib.sha256(url.encode()).hexdigest()[:8]
        part = folder / f"{archive.file_name}.{mark}.part"
        try:
            size, sha256, checked = _from_mirror(archive, url, part, retries, progress, say)
        except MirrorError as error:
            failures.append(f"{url}: {error}")
            say(failures[-1])
            continue
        write_metadata(path, {"url": url, "sha256": sha256})
        os.replace(part, path)
        metadata_path(part).unlink(missing_ok=True)
        return Fetched(path, url, size, sha256, checked)
    raise UserError(
        f"{archive.file_name}: all mirrors failed: {'; '.join(failures)}. Get it by hand and pass "
        "it with --from, or pass another address with --mirror."
    )


def _complete(archive: Archive, path: Path) -> Fetched | None:
    """The archive that an earlier run downloaded but did not unpack, if it is still correct."""
    metadata = read_metadata(path)
    if not path.is_file() or not metadata:
        return None
    try:
        sha256, checked = check(archive, path)
    except ValueError:
        return None
    if sha256 != metadata.get("sha256"):
        return None
    return Fetched(path, str(metadata.get("url")), size_of(path), sha256, checked)


def _from_mirror(
    archive: Archive,
    url: str,
    part: Path,
    retries: RetryPolicy,
    progress: bool,
    say: Callable[[str], None],
) -> tuple[int, str, str]:
    """Completes ``part``; returns its size and the result of :func:`check`."""
    failed = 0
    verify = True
    while True:
        before = size_of(part)
        try:
            _attempt(archive, url, part, retries.timeout, progress, verify)
            return _verify(archive, part, resumed=before > 0)
        except TransientError as error:
            failed = 0 if size_of(part) - before >= _PROGRESS else failed + 1
            if failed >= retries.attempts:
                raise MirrorError(f"{error} ({failed} attempts)") from None
            wait = min(retries.wait * 2 ** max(failed - 1, 0), _MAX_WAIT)
            say(f"{host(url)}: {error}; trying again in {wait:.0f} s")
            time.sleep(wait)
        except ssl.SSLCertVerificationError as error:
            if not archive.sha256 or not verify:
                raise MirrorError(
                    f"its certificate is not valid ({error.verify_message}), and no SHA-256 of "
                    "the archive is published to verify the file instead"
                ) from None
            verify = False  # a forged archive would not have the published SHA-256
            say(
                f"{host(url)} has no valid certificate ({error.verify_message}): continuing, as "
                "the archive is compared with its published SHA-256"
            )


def _verify(archive: Archive, part: Path, *, resumed: bool) -> tuple[int, str, str]:
    """The size and checksum of a complete download; a wrong one is removed."""
    size = size_of(part)
    try:
        if archive.size is not None and size != archive.size:
            raise ValueError(f"it sent {size:,} bytes instead of {archive.size:,}")
        if archive_format(part) is None:
            raise ValueError("it did not send an archive, perhaps a web page")
        return size, *check(archive, part)
    except ValueError as error:
        remove(part)
        # A resumed part may mix two versions of the file, so try again from the start.
        raise (TransientError if resumed else MirrorError)(str(error)) from None


def _attempt(
    archive: Archive, url: str, part: Path, timeout: float, progress: bool, verify: bool
) -> None:
    """One request for the rest of ``part``."""
    metadata = read_metadata(part)
    received = size_of(part) if metadata.get("validator") else 0
    if received and received == metadata.get("total"):
        return
    headers = {"Accept-Encoding": "identity"}
    if received:
        headers |= {"Range": f"bytes={received}-", "If-Range": metadata["validator"]}

    def handle(response: Any) -> None:
        start, total = _check_response(response, received, metadata, archive, part)
        _receive(response, part, start, total, archive, timeout, progress)

    try:
        request(url, headers, handle, timeout=timeout, verify=verify)
    except urllib.error.HTTPError:  # 416: the file has become shorter
        remove(part)
        raise TransientError("has another file than before") from None


def _check_response(
    response: Any, received: int, metadata: dict[str, Any], archive: Archive, part: Path
) -> tuple[int, int | None]:
    """The first byte of the response's content, and the size of the file if it is known.

    Stores the metadata that is needed to resume ``part`` later.
    """
    encoding = response.headers.get("Content-Encoding", "identity").lower()
    compressed = archive.file_name.endswith(("gz", "bz2", "xz"))  # some servers send its own
    if encoding != "identity" and not compressed:
        raise MirrorError(f"sends the unrequested Content-Encoding {encoding}")
    length = response.headers.get("Content-Length", "")
    total = int(length) if length.isdecimal() else None
    if response.status == 206 and received:
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
        start, total = map(int, match.groups()) if match else (-1, -1)
        if start != received or total != metadata.get("total", total):
            remove(part)
            raise TransientError("sends another range than requested")
    elif response.status == 200:
        received = 0  # the server does not support ranges, or has another file now
    else:
        raise MirrorError(f"answers {response.status} {response.reason}")
    if total is not None and archive.size is not None and total != archive.size:
        raise MirrorError(f"offers {total:,} bytes instead of {archive.size:,}")
    if total is not None and total > MAX_BYTES:
        raise MirrorError(f"offers {total:,} bytes, which is too much")
    free = shutil.disk_usage(part.parent).free
    if total is not None and total - received > free:
        raise UserError(
            f"{part.parent}: {total - received:,} bytes are needed, {free:,} are free. Free some "
            "space, or choose another folder with --to."
        )
    if received == 0:
        etag = response.headers.get("ETag", "")
        strong = etag if etag.startswith('"') else ""
        validator = strong or response.headers.get("Last-Modified", "")
        fresh = {"url": response.url, "validator": validator}
        if total is not None:
            fresh["total"] = total
        write_metadata(part, fresh)
    return received, total


def _receive(
    response: Any,
    part: Path,
    received: int,
    total: int | None,
    archive: Archive,
    timeout: float,
    progress: bool,
) -> None:
    """Appends the response's content to ``part``."""
    limit = archive.size or total or MAX_BYTES
    since, recent = time.monotonic(), 0  # for the speed over the last timeout
    with (
        part.open("ab" if received else "wb") as file,
        tqdm(
            total=total,
            initial=received,
            desc=archive.file_name,
            unit="B",
            unit_scale=True,
            disable=None if progress else True,
            leave=False,
        ) as bar,
    ):
        while block := response.read1(_CHUNK):
            received += len(block)
            if received > limit:
                remove(part)
                raise MirrorError(f"does not stop after {limit:,} bytes")
            file.write(block)
            bar.update(len(block))
            recent += len(block)
            if (elapsed := time.monotonic() - since) > timeout:
                if recent < MIN_SPEED * elapsed:
                    raise TransientError(f"sends less than {MIN_SPEED} bytes per second")
                since, recent = time.monotonic(), 0
    if total is not None and received < total:
        raise TransientError(f"stopped after {received:,} of {total:,} bytes")
