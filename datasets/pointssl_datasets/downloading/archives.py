"""Iterating over the members of zip and tar archives, whose format is detected by content."""

import bz2
import contextlib
import errno
import gzip
import lzma
import re
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

from pointssl_datasets.base.errors import DataError

_PLAUSIBLE = 2**40  # bytes that a zip may declare; above, it is a bomb and not a lack of space
_MAX_PADDING = 2**26  # bytes after the end of a tar
_MAX_READ = 2**22  # bytes; a tar header that needs a larger read is damaged
_KINDS = {
    b"PK\x03\x04": "zip",
    b"PK\x05\x06": "zip",
    b"\x1f\x8b": "gz",
    b"BZh": "bz2",
    b"\xfd7zXZ\x00": "xz",
}
DAMAGE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    EOFError,
    zlib.error,
    lzma.LZMAError,
    gzip.BadGzipFile,
    NotImplementedError,
    ValueError,
    RuntimeError,  # and so RecursionError: headers of headers without end
    OverflowError,
    UnicodeError,
)


class Member(NamedTuple):
    """A member of an archive."""

    name: str
    kind: str  # "file", "folder", "link", or a phrase for anything else
    content: IO[bytes] | None = None  # of a file
    target: str = ""  # of a link, relative to the root of the archive


def archive_format(path: Path) -> str | None:
    """``"zip"``, ``"tar"``, ``"gz"``, ``"bz2"``, ``"xz"`` or None, by content and not by name."""
    with path.open("rb") as file:
        head = file.read(512)
    for magic, name in _KINDS.items():
        if head.startswith(magic):
            return name
    return "tar" if head[257:262] == b"ustar" else None


@contextlib.contextmanager
def members(archive: Path) -> Iterator[Iterator[Member]]:
    """The members of an archive, in order.

    Raises:
        DataError: it is not an archive, or encrypted.
        any of ``DAMAGE``, OSError: it is truncated or damaged.
    """
    kind = archive_format(archive)
    if kind is None:
        raise DataError(f"{archive}: neither zip nor tar (nor tar with gz, bz2, xz). A web page?")
    with _zip(archive) if kind == "zip" else _tar(archive, kind) as content:
        yield content


@contextlib.contextmanager
def _zip(archive: Path) -> Iterator[Iterator[Member]]:
    with zipfile.ZipFile(archive) as file:
        free = shutil.disk_usage(archive.parent).free
        declared = sum(info.file_size for info in file.infolist())
        if free < declared < _PLAUSIBLE:
            raise OSError(errno.ENOSPC, f"{declared:,} bytes are needed, {free:,} are free")
        yield (_zip_member(file, info, archive) for info in file.infolist())


def _zip_member(file: zipfile.ZipFile, info: zipfile.ZipInfo, archive: Path) -> Member:
    mode = info.external_attr >> 16
    if info.flag_bits & 1:
        raise DataError(f"{archive}: is encrypted; unpack it by hand with its password.")
    if info.is_dir():
        return Member(info.filename, "folder")
    if stat.S_ISLNK(mode):
        with file.open(info) as content:
            target = content.read(4096).decode("utf-8", "replace")
        return Member(info.filename, "link", target=_from_root(info.filename, target))
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        return Member(info.filename, "no file, folder or link")
    return Member(info.filename, "file", file.open(info))


@contextlib.contextmanager
def _tar(archive: Path, compression: str) -> Iterator[Iterator[Member]]:
    openers: dict[str, Any] = {"gz": gzip.open, "bz2": bz2.open, "xz": lzma.open}
    with openers.get(compression, open)(archive, "rb") as raw:
        if compression != "tar" and raw.read(512)[257:262] != b"ustar":
            raise DataError(f"{archive}: is compressed with {compression}, but contains no tar.")
        raw.seek(0)
        with tarfile.open(fileobj=_LimitedReads(raw), mode="r:") as tar:  # type: ignore[call-overload]
            yield _tar_members(tar, archive)
        padding = 0  # read to its end, where gzip and xz verify their checksums
        while block := raw.read(_MAX_READ):
            padding += len(block)
            if padding > _MAX_PADDING:
                raise tarfile.ReadError("it continues after its end")


class _LimitedReads:
    """A file that refuses large reads, which only a damaged tar header asks for."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _MAX_READ:
            raise tarfile.ReadError("a header of absurd size")
        return self.file.read(size)


def _tar_members(tar: tarfile.TarFile, archive: Path) -> Iterator[Member]:
    """The members up to the end mark of the archive.

    ``TarFile.next`` takes a damaged header for the end. Here it is an error.
    """
    tar.offset = 0
    assert tar.fileobj is not None
    while True:
        tar.fileobj.seek(tar.offset)
        try:
            info = tarfile.TarInfo.fromtarfile(tar)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            return
        if info.issparse():
            yield Member(info.name, "a sparse file")
        elif info.isreg():
            yield Member(info.name, "file", tar.extractfile(info))
        elif info.isdir():
            yield Member(info.name, "folder")
        elif info.islnk():
            yield Member(info.name, "link", target=info.linkname)
        elif info.issym():
            yield Member(info.name, "link", target=_from_root(info.name, info.linkname))
        else:
            yield Member(info.name, "a device or a pipe")


def _from_root(name: str, target: str) -> str:
    """The target of a symbolic link relative to the root of the archive.

    ``..`` remains only if it leads out of the archive. A leading ``/`` or drive letter remains, so
    that the caller refuses it.
    """
    if target.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", target):
        return target
    parts: list[str] = []
    for part in [*re.split(r"[/\\]", name)[:-1], *re.split(r"[/\\]", target)]:
        if part == ".." and parts and parts[-1] != "..":
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)
