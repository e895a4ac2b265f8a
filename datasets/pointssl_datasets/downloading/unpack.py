"""Unpacking untrusted archives: completely or not at all, and never outside of the folder.

Zip, tar, tar.gz, tar.bz2 and tar.xz, detected by content. Nothing is unpacked if a member leads out
of the folder or is a device, or if the archive is encrypted or a decompression bomb.
"""

import errno
import os
import re
import shutil
import uuid
from pathlib import Path

from tqdm import tqdm

from pointssl_datasets.base.errors import DataError, UserError
from pointssl_datasets.downloading.archives import DAMAGE, members

LIMIT_BYTES = 256 * 2**30
LIMIT_FILES = 2_000_000
LIMIT_DEPTH = 32
MAX_RATIO = 200  # of unpacked to packed size; for text of numbers it is 3 to 10
SMALL = 2**26  # bytes; the ratio is not checked below
_CHUNK = 2**20


def unpack(
    archive: Path,
    folder: Path,
    *,
    limit_bytes: int = LIMIT_BYTES,
    limit_files: int = LIMIT_FILES,
    progress: bool = False,
) -> Path:
    """Unpacks ``archive`` into ``folder``, which must not exist, completely or not at all.

    ``__MACOSX``, ``.DS_Store`` and ``._*`` are left out, and so is a file whose name differs from
    an earlier one only in case. Links become hard links to the files that they point to. Owners,
    permissions and times are ignored.

    Args:
        limit_bytes: refuse archives with more content.
        limit_files: refuse archives with more members.
        progress: show a progress bar.

    Raises:
        DataError: it is not an archive, damaged, encrypted, too large, or leads out of the folder.
        UserError: it can't be read, or ``folder`` can't be written (it exists, the disk is full).
    """
    if folder.exists():
        raise UserError(f"{folder} exists already and is not overwritten. Move it away first.")
    temporary = folder.with_name(f".{folder.name}.tmp-{uuid.uuid4().hex[:8]}")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
        _extract(archive, temporary, limit_bytes, limit_files, progress)
        os.rename(temporary, folder)
    except DAMAGE as error:
        raise DataError(
            f"{archive}: truncated or damaged ({' '.join(str(error).split()) or 'it ends early'}). "
            "Get it again."
        ) from None
    except OSError as error:
        raise _os_error(error, archive, folder) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _os_error(error: OSError, archive: Path, folder: Path) -> UserError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return UserError(f"{folder.parent}: {error.strerror} while unpacking {archive.name}.")
    if error.errno is None:  # raised by bz2 for damaged data
        return DataError(f"{archive}: truncated or damaged ({error}). Get it again.")
    return UserError(f"{archive}: cannot be unpacked: {error.filename or ''}: {error.strerror}")


def _extract(
    archive: Path, folder: Path, limit_bytes: int, limit_files: int, progress: bool
) -> None:
    packed = archive.stat().st_size
    limit = min(limit_bytes, max(SMALL, MAX_RATIO * packed))
    written = count = 0
    seen: set[str] = set()
    links: list[tuple[Path, Path, str]] = []
    bar = tqdm(
        desc=f"unpack {archive.name}", unit="file", disable=None if progress else True, leave=False
    )
    with bar, members(archive) as content:
        for member in content:
            count += 1
            bar.update()
            if count > limit_files:
                raise DataError(f"{archive}: more than {limit_files} members. Not unpacked.")
            parts = _parts(member.name, archive)
            if not parts or _is_junk(parts):
                continue
            if member.kind not in ("file", "folder", "link"):
                raise DataError(f"{archive}: {member.name!r} is {member.kind}. Not unpacked.")
            path = folder.joinpath(*parts)
            if member.kind == "folder":
                path.mkdir(parents=True, exist_ok=True)
                continue
            key = "/".join(parts).casefold()
            if key in seen:
                continue
            seen.add(key)
            path.parent.mkdir(parents=True, exist_ok=True)
            if member.kind == "link":
                target = _parts(member.target, archive, f"{member.name!r} points to ")
                links.append((path, folder.joinpath(*target), member.name))
                continue
            assert member.content is not None
            with path.open("xb") as file, member.content as source:
                while block := source.read(_CHUNK):
                    written += len(block)
                    if written > limit:
                        raise DataError(
                            f"{archive}: unpacks from {packed:,} to more than {limit:,} bytes: "
                            "a decompression bomb, or not the expected archive. Not unpacked."
                        )
                    file.write(block)
    for path, file_path, name in links:  # last, as a link may precede its file
        if not file_path.is_file():
            raise DataError(
                f"{archive}: the link {name!r} does not point to a file in it. Not unpacked."
            )
        try:
            os.link(file_path, path)
        except OSError:  # the file system has no hard links
            shutil.copyfile(file_path, path)


def _parts(name: str, archive: Path, whose: str = "") -> list[str]:
    """The parts of a path, relative to the folder.

    Raises:
        DataError: it leads out of the folder, is too deep, or has control characters.
    """
    parts = [part for part in re.split(r"[/\\]", name) if part not in ("", ".")]
    if name.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", name) or ".." in parts:
        raise DataError(f"{archive}: {whose}{name!r} leads out of the folder. Not unpacked.")
    if len(parts) > LIMIT_DEPTH or any(ord(letter) < 32 for letter in name):
        raise DataError(f"{archive}: {whose}{name[:200]!r} is not a valid path. Not unpacked.")
    return parts


def _is_junk(parts: list[str]) -> bool:
    return "__MACOSX" in parts or parts[-1] == ".DS_Store" or parts[-1].startswith("._")
