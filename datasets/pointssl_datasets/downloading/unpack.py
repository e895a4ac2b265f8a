"""Archives of strangers, unpacked so that nothing leaves the folder and nothing is half done.

Zip, tar, tar.gz, tar.bz2 and tar.xz, recognised by content. A member that leads out of the folder,
a device, a password, a bomb: nothing at all is unpacked then.
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
MOST_RATIO = 200  # of unpacked to packed; text of numbers packs 3 to 10 times smaller
SMALL = 2**26  # so much may be unpacked at any ratio
_CHUNK = 2**20


def unpack(
    archive: Path,
    folder: Path,
    *,
    limit_bytes: int = LIMIT_BYTES,
    limit_files: int = LIMIT_FILES,
    progress: bool = False,
) -> Path:
    """``folder``, which must not exist, with everything that ``archive`` holds, or not at all.

    ``__MACOSX``, ``.DS_Store`` and ``._*`` are left out, and so is a file whose name differs from
    an earlier one by upper and lower case alone. Links become further names of the files they
    point to. Owners, permissions and times are not taken over.

    Args:
        limit_bytes: stop when more than that was written.
        limit_files: stop when the archive has more members.

    Raises:
        DataError: it is no archive, damaged, encrypted, too large, or leads out of the folder.
        UserError: it can't be read, or ``folder`` not written (it exists, the disk is full).
    """
    if folder.exists():
        raise UserError(f"{folder} is already there, and is not overwritten. Move it away first.")
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
        return UserError(f"{folder.parent}: {error.strerror} while {archive.name} was unpacked.")
    if error.errno is None:  # bz2 complains of its data so
        return DataError(f"{archive}: truncated or damaged ({error}). Get it again.")
    return UserError(f"{archive}: cannot be unpacked: {error.filename or ''}: {error.strerror}")


def _extract(
    archive: Path, folder: Path, limit_bytes: int, limit_files: int, progress: bool
) -> None:
    packed = archive.stat().st_size
    limit = min(limit_bytes, max(SMALL, MOST_RATIO * packed))
    written = count = 0
    seen: set[str] = set()
    links: list[tuple[Path, Path, str]] = []
    bar = tqdm(
        desc=f"unpack {archive.name}", unit="file", disable=None if progress else True, leave=False
    )
    with bar, members(archive) as entries:
        for member in entries:
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
            with path.open("xb") as file, member.content as content:
                while block := content.read(_CHUNK):
                    written += len(block)
                    if written > limit:
                        raise DataError(
                            f"{archive}: unpacks to more than {limit:,} bytes from {packed:,}: "
                            "that is a bomb, or another archive than expected. Not unpacked."
                        )
                    file.write(block)
    for path, source, name in links:  # after the files, which they may precede
        if not source.is_file():
            raise DataError(f"{archive}: the link {name!r} points to no file in it. Not unpacked.")
        try:
            os.link(source, path)
        except OSError:  # some file systems know no further names
            shutil.copyfile(source, path)


def _parts(name: str, archive: Path, whose: str = "") -> list[str]:
    """The path's parts below the folder.

    Raises:
        DataError: it leads out of the folder, or is no sane path.
    """
    parts = [part for part in re.split(r"[/\\]", name) if part not in ("", ".")]
    if name.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", name) or ".." in parts:
        raise DataError(f"{archive}: {whose}{name!r} leads out of the folder. Not unpacked.")
    if len(parts) > LIMIT_DEPTH or any(ord(letter) < 32 for letter in name):
        raise DataError(f"{archive}: {whose}{name[:200]!r} is no sane path. Not unpacked.")
    return parts


def _is_junk(parts: list[str]) -> bool:
    return "__MACOSX" in parts or parts[-1] == ".DS_Store" or parts[-1].startswith("._")
