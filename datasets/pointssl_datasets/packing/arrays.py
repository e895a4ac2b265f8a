"""The memory-mapped arrays of a packed folder, and how they are read.

xyz.npy (T, 3) float32, y-up    offsets.npy (M + 1,) int64    label.npy (M,) int64
normals.npy, colours.npy, place.npy (T, 3) float32    part.npy (T,) int64
names, images and mesh (paths of each cloud) as :mod:`pointssl_datasets.packing.strings`
meta.json: classes, parts, notes on the content, fingerprint, up axis of the files

place.npy is turned y-up as xyz.npy is, as a vector: for (x, y, z) of a z-up file, each 0-1, it has
(x, z, -y).
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pointssl_datasets.base.errors import DataError
from pointssl_datasets.base.lazy import Lazy
from pointssl_datasets.packing.strings import read_strings

VERSION = "3"
Field = Literal["xyz", "normals", "colours", "place", "part"]
FIELDS: tuple[Field, ...] = ("xyz", "normals", "colours", "place", "part")
TURNED: tuple[Field, ...] = ("xyz", "normals", "place")  # with the axes


def read_meta(folder: Path) -> dict[str, Any]:
    """``meta.json`` of a packed folder.

    Raises:
        DataError: the folder is damaged.
    """
    try:
        meta: dict[str, Any] = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise _damaged(folder) from None
    return meta


def read_array(folder: Path, name: str) -> NDArray[Any]:
    """``name``.npy of a packed folder, memory-mapped.

    Raises:
        DataError: the folder is damaged.
    """
    try:
        mapped = np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError):
        raise _damaged(folder) from None
    return np.asarray(mapped)  # still mapped, but slicing the memmap class itself is slow


def read_names(folder: Path) -> Sequence[str]:
    """The names of the clouds of a packed folder.

    Raises:
        DataError: the folder is damaged.
    """
    return _strings(folder, "names")


def read_paths(folder: Path, what: Literal["images", "mesh"]) -> Sequence[list[Path]]:
    """For each cloud the files of its images, or the mesh that its points were drawn from.

    Raises:
        DataError: the folder is damaged.
    """
    lines = _strings(folder, what)
    return Lazy(len(lines), lambda i: [Path(p) for p in lines[i].split("\0")] if lines[i] else [])


def _strings(folder: Path, name: str) -> Lazy[str]:
    try:
        return read_strings(folder, name)
    except (OSError, ValueError):
        raise _damaged(folder) from None


def _damaged(folder: Path) -> DataError:
    return DataError(f"{folder}: damaged cache; delete this folder and start again")
