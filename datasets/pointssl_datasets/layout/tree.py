"""Listing folders of clouds and their images. No cloud is opened.

Hidden files and folders, and ``__MACOSX``, are ignored. Symbolic links are followed.
"""

import os
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from pointssl_datasets.base.errors import DataError
from pointssl_datasets.files.readers import SUFFIXES
from pointssl_datasets.layout.pairs import images_in, is_image

_MTL_BYTES = 1 << 20  # of a .mtl file that are searched for names of textures
_MAP = re.compile(r"^\s*(?:map_\w+|bump|disp|decal|refl|norm)\s+(.*\S)", re.IGNORECASE | re.M)
# Characters that no line of a skip list in UTF-8 can contain: control characters, line breaks.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f\x85\u2028\u2029\ud800-\udfff]")


@dataclass
class Listing:
    """The content of one folder of clouds."""

    clouds: dict[str, Path] = field(default_factory=dict)  # stem -> file, sorted
    images: dict[str, list[Path]] = field(default_factory=dict)  # stem of the cloud -> images
    orphans: list[str] = field(default_factory=list)  # images without a cloud
    foreign: Counter[str] = field(default_factory=Counter)  # suffix -> number of other files


def entries(folder: Path) -> tuple[list[str], list[str]]:
    """Names of the files and of the folders in ``folder``, sorted, including hidden ones.

    Raises:
        DataError: the folder can't be read.
    """
    files: list[str] = []
    folders: list[str] = []
    try:
        with os.scandir(folder) as content:
            for entry in content:
                (folders if _is_folder(entry) else files).append(entry.name)
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed: {error.strerror}") from None
    return sorted(files), sorted(folders)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder; needs no access to the file unless it is a symbolic link."""
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def is_hidden(name: str) -> bool:
    """Whether a system or an archive put a file or folder of this name beside the user's."""
    return name.startswith(".") or name == "__MACOSX"


def subfolders(folder: Path) -> list[str]:
    """Names of the folders in ``folder``, sorted, without hidden ones; none if it is missing."""
    if not folder.is_dir():
        return []
    return [name for name in entries(folder)[1] if not is_hidden(name)]


def is_cloud(name: str) -> bool:
    """Whether a file of this name is a cloud or mesh, by its suffix."""
    return os.path.splitext(name)[1].lower() in SUFFIXES and not is_hidden(name)


def has_clouds(folder: Path) -> bool:
    """Whether any file directly in ``folder`` is a cloud by its name; stops at the first."""
    try:
        with os.scandir(folder) as content:
            return any(is_cloud(entry.name) and not _is_folder(entry) for entry in content)
    except OSError:
        return False


def list_clouds(folder: Path, *, below: frozenset[str] = frozenset()) -> Listing:
    """The clouds directly in ``folder``, and their images.

    Images of a cloud ``m1.npy`` are ``m1.jpg``, ``m1_*.png``, and all in a folder ``m1/``. Files
    that a ``.mtl`` file in the folder refers to are textures of meshes, and not images of clouds.

    Args:
        folder: where to look.
        below: names of folders to ignore because they contain clouds themselves.

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
                f"{folder}: two clouds have the name {stem!r}: {listing.clouds[stem].name} and "
                f"{name}. Keep one."
            )
        check_name(name, folder)
        listing.clouds[stem] = folder / name
    listing.clouds = dict(sorted(listing.clouds.items()))
    images = {name: [folder / name] for name in rest if is_image(name)}
    inside = {n: images_in(folder / n) for n in folders if n not in below and not is_hidden(n)}
    owners = {name: _owner(os.path.splitext(name)[0], listing.clouds) for name in images}
    owners |= {name: name for name in inside}
    textures = _textures(folder, rest) if images or any(inside.values()) else set()
    for name, paths in sorted((images | inside).items()):
        kept = [path for path in paths if os.path.relpath(path, folder) not in textures]
        if kept and owners[name] in listing.clouds:
            listing.images.setdefault(owners[name], []).extend(kept)
        elif kept:
            check_name(name, folder)
            listing.orphans.append(name)
        if len(kept) < len(paths):
            listing.foreign["texture"] += len(paths) - len(kept)
    listing.foreign.update(os.path.splitext(n)[1] or n for n in rest if n not in images)
    empty = [name for name in folders if name not in below and not inside.get(name)]
    listing.foreign["folder"] += len(empty)
    return listing


def check_name(name: str, folder: Path) -> None:
    """Raises :class:`DataError` for a name that a list of names can't contain."""
    if _UNPRINTABLE.search(name):
        raise DataError(
            f"{folder}: a file or folder has the name {name!a}: rename it, without line breaks, "
            "tabs and other control characters, and in UTF-8"
        )


def _owner(stem: str, clouds: dict[str, Path]) -> str:
    """The cloud of an image: of ``m1_side_2`` it is that, else ``m1_side``, else ``m1``."""
    while stem not in clouds and "_" in stem:
        stem = stem.rpartition("_")[0]
    return stem


def _textures(folder: Path, files: list[str]) -> set[str]:
    """Paths, relative to ``folder``, that its ``.mtl`` files refer to; these are not opened."""
    textures = set()
    for name in files:
        if name.lower().endswith(".mtl") and not is_hidden(name):
            try:
                with (folder / name).open("rb") as file:
                    text = file.read(_MTL_BYTES).decode("utf-8", "replace")
            except OSError:
                continue
            for line in _MAP.findall(text):
                # Options such as -bm 0.2 precede the name, which may contain spaces.
                words = line.replace("\\", "/").split(" ")
                textures |= {os.path.normpath(" ".join(words[i:])) for i in range(len(words))}
    return textures
