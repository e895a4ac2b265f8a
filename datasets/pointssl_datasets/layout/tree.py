"""Folders of clouds and of their pictures, by name: no cloud is opened.

Hidden files and folders, and ``__MACOSX``, are passed over. Symbolic links are followed.
"""

import os
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from pointssl_datasets.base.errors import DataError
from pointssl_datasets.files.readers import SUFFIXES
from pointssl_datasets.layout.pairs import images_in, is_image

_MTL_BYTES = 1 << 20  # of a .mtl file that are looked at for names of textures
_MAP = re.compile(r"^\s*(?:map_\w+|bump|disp|decal|refl|norm)\s+(.*\S)", re.IGNORECASE | re.M)
# What could not be a line of a skip list, or of a file in UTF-8: control characters, breaks.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f\x85\u2028\u2029\ud800-\udfff]")


@dataclass
class Listing:
    """One folder of clouds."""

    clouds: dict[str, Path] = field(default_factory=dict)  # by stem, sorted
    images: dict[str, list[Path]] = field(default_factory=dict)  # by stem of the cloud
    orphans: list[str] = field(default_factory=list)  # pictures without a cloud
    foreign: Counter[str] = field(default_factory=Counter)  # everything else, by suffix


def entries(folder: Path) -> tuple[list[str], list[str]]:
    """Names of the files and of the folders in ``folder``, sorted, hidden ones too.

    Raises:
        DataError: the folder can't be read, or a name could not be written in a list of names.
    """
    files: list[str] = []
    folders: list[str] = []
    try:
        with os.scandir(folder) as found:
            for entry in found:
                (folders if _is_folder(entry) else files).append(entry.name)
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed: {error.strerror}") from None
    return sorted(files), sorted(folders)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Known without a look at the file, unless it is a symbolic link."""
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def is_hidden(name: str) -> bool:
    """What a system or an archive leaves beside the user's files."""
    return name.startswith(".") or name == "__MACOSX"


def subfolders(folder: Path) -> list[str]:
    """Names of the folders in ``folder``, sorted, without hidden ones; none if it is missing."""
    if not folder.is_dir():
        return []
    return [name for name in entries(folder)[1] if not is_hidden(name)]


def is_cloud(name: str) -> bool:
    """By the suffix of the file's name."""
    return os.path.splitext(name)[1].lower() in SUFFIXES and not is_hidden(name)


def has_clouds(folder: Path) -> bool:
    """Does a file directly in ``folder`` look like a cloud? Stops at the first."""
    try:
        with os.scandir(folder) as found:
            return any(is_cloud(entry.name) and not _is_folder(entry) for entry in found)
    except OSError:
        return False


def list_clouds(folder: Path, *, below: frozenset[str] = frozenset()) -> Listing:
    """The clouds directly in ``folder``, and the pictures beside them.

    Pictures of a cloud ``m1.npy`` are ``m1.jpg``, ``m1_*.png``, and all in a folder ``m1/``. What a
    ``.mtl`` file in the folder names is a texture of a mesh, and no picture.

    Args:
        folder: where to look.
        below: names of folders that hold clouds themselves: not of this listing.

    Raises:
        DataError: two clouds of one name, a name with control characters, an unreadable folder.
    """
    listing = Listing()
    files, folders = entries(folder)
    rest = []
    for name in files:
        stem, suffix = os.path.splitext(name)
        if suffix.lower() not in SUFFIXES or is_hidden(name):
            rest.append(name)
            continue
        if stem in listing.clouds:
            raise DataError(
                f"{folder}: two clouds are called {stem!r}: {listing.clouds[stem].name} and "
                f"{name}. Keep one."
            )
        check_name(name, folder)
        listing.clouds[stem] = folder / name
    listing.clouds = dict(sorted(listing.clouds.items()))
    pictures = {name: [folder / name] for name in rest if is_image(name)}
    inside = {n: images_in(folder / n) for n in folders if n not in below and not is_hidden(n)}
    owners = {name: _owner(os.path.splitext(name)[0], listing.clouds) for name in pictures}
    owners |= {name: name for name in inside}
    textures = _textures(folder, rest) if pictures or any(inside.values()) else set()
    for name, found in sorted((pictures | inside).items()):
        kept = [path for path in found if os.path.relpath(path, folder) not in textures]
        if kept and owners[name] in listing.clouds:
            listing.images.setdefault(owners[name], []).extend(kept)
        elif kept:
            check_name(name, folder)
            listing.orphans.append(name)
        if len(kept) < len(found):
            listing.foreign["texture"] += len(found) - len(kept)
    listing.foreign.update(os.path.splitext(n)[1] or n for n in rest if n not in pictures)
    empty = [name for name in folders if name not in below and not inside.get(name)]
    listing.foreign["folder"] += len(empty)
    return listing


def check_name(name: str, folder: Path) -> None:
    """Raises :class:`DataError` for a name that no list of names could hold."""
    if _UNPRINTABLE.search(name):
        raise DataError(
            f"{folder}: a file or folder is called {name!a}: rename it, without line breaks, "
            "tabs, other control characters, and in UTF-8"
        )


def _owner(stem: str, clouds: dict[str, Path]) -> str:
    """``m1_side_2`` belongs to the cloud ``m1_side_2``, else ``m1_side``, else ``m1``."""
    while stem not in clouds and "_" in stem:
        stem = stem.rpartition("_")[0]
    return stem


def _textures(folder: Path, files: list[str]) -> set[str]:
    """The files that the ``.mtl`` files of a folder name, relative to it; none is opened."""
    named = set()
    for name in files:
        if name.lower().endswith(".mtl") and not is_hidden(name):
            try:
                with (folder / name).open("rb") as file:
                    text = file.read(_MTL_BYTES).decode("utf-8", "replace")
            except OSError:
                continue
            for line in _MAP.findall(text):
                # Options such as -bm 0.2 stand ahead of a name that may have spaces.
                words = line.replace("\\", "/").split(" ")
                named |= {os.path.normpath(" ".join(words[i:])) for i in range(len(words))}
    return named
