"""What an archive holds, member by member: zip and tar, packed or not, recognised by content."""

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

_BELIEVED = 2**40  # bytes
_TAIL = 2**26  # bytes of padding after the end of a tar
_HEADER = 2**22  # more than that in one read is a tar header that promises too much
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
    """One entry of an archive, of whatever kind."""

    name: str
    kind: str  # "file", "folder", "link", or what it is instead
    content: IO[bytes] | None = None  # of a file
    target: str = ""  # of a link, from the folder of the archive


def kind(path: Path) -> str | None:
    """``"zip"``, ``"tar"``, ``"gz"``, ``"bz2"``, ``"xz"``, or None: by content, not by name."""
    with path.open("rb") as file:
        head = file.read(512)
    for magic, name in _KINDS.items():
        if head.startswith(magic):
            return name
    return "tar" if head[257:262] == b"ustar" else None


@contextlib.contextmanager
def members(archive: Path) -> Iterator[Iterator[Member]]:
    """All of an archive's, in its order.

    Raises:
        DataError: it is no archive, or encrypted.
        any of ``DAMAGE``, OSError: it is truncated or damaged.
    """
    found = kind(archive)
    if found is None:
        raise DataError(
            f"{archive}: neither zip nor tar (perhaps with gz, bz2 or xz). Is it a web page?"
        )
    with _zip(archive) if found == "zip" else _tar(archive, found) as entries:
        yield entries


@contextlib.contextmanager
def _zip(archive: Path) -> Iterator[Iterator[Member]]:
    with zipfile.ZipFile(archive) as file:
        free = shutil.disk_usage(archive.parent).free
        promised = sum(info.file_size for info in file.infolist())
        if promised > free and promised < _BELIEVED:  # a bomb's promise is worth nothing
            raise OSError(errno.ENOSPC, f"{promised:,} bytes are needed, {free:,} are free")
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
        return Member(info.filename, "link", target=_beside(info.filename, target))
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        return Member(info.filename, "no file, folder or link")
    return Member(info.filename, "file", file.open(info))


@contextlib.contextmanager
def _tar(archive: Path, found: str) -> Iterator[Iterator[Member]]:
    openers: dict[str, Any] = {"gz": gzip.open, "bz2": bz2.open, "xz": lzma.open}
    with openers.get(found, open)(archive, "rb") as raw:
        if found != "tar" and raw.read(512)[257:262] != b"ustar":
            raise DataError(f"{archive}: is packed with {found}, but holds no tar inside.")
        raw.seek(0)
        with tarfile.open(fileobj=_Careful(raw), mode="r:") as tar:  # type: ignore[call-overload]
            yield _tar_members(tar, archive)
        tail = 0  # padding; the checksum of the whole comes after it
        while block := raw.read(_HEADER):
            tail += len(block)
            if tail > _TAIL:
                raise tarfile.ReadError("it goes on after its end")


class _Careful:
    """A file that does not read as much as a header merely promises."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _HEADER:
            raise tarfile.ReadError("a header of absurd size")
        return self.file.read(size)


def _tar_members(tar: tarfile.TarFile, archive: Path) -> Iterator[Member]:
    """One after the other, to the mark that ends the archive.

    ``TarFile.next`` takes a damaged header for the end; here it is an error.
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
            yield Member(info.name, "link", target=_beside(info.name, info.linkname))
        else:
            yield Member(info.name, "a device or a pipe")


def _beside(name: str, target: str) -> str:
    """A symbolic link's target, from the folder of the archive; ``..`` stays only if it leads out.

    ``/`` and drive letters stay in front, where they are refused.
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
