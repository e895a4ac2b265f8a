"""Tables of numbers: ``.npy .npz`` and text. Pickled objects are never loaded."""

import math
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pointssl_datasets.base.errors import DataError
from pointssl_datasets.base.source import Cloud
from pointssl_datasets.files.fields import part_numbers, unit_colours, unit_normals
from pointssl_datasets.files.text_table import read_table

_XYZ_KEYS = ("xyz", "points", "pos", "data")
_NORMAL_KEYS = ("normals", "normal")
_COLOUR_KEYS = ("colours", "colors", "rgb")
_PART_KEYS = ("part", "label", "seg")
_MAX_COLUMNS = 32  # an array of three rows and more columns is transposed
_MAX_PART = 255  # larger numbers in a seventh column are measurements
_MAX_EXPANSION = 1100  # deflate turns one byte into at most 1032
_NPZ_FIELDS = {
    "xyz": _XYZ_KEYS, "normals": _NORMAL_KEYS, "colours": _COLOUR_KEYS, "part": _PART_KEYS,
}  # fmt: skip
# What NumPy raises for damaged headers, and for damaged archives.
_NPY_ERRORS = (ValueError, EOFError, SyntaxError, TypeError, tokenize.TokenError, OverflowError)
_NPZ_ERRORS = (
    *_NPY_ERRORS, zipfile.BadZipFile, KeyError, AttributeError, zlib.error, RuntimeError,
)  # fmt: skip


def read_npy(path: Path) -> Cloud:
    """A cloud of rows x y z, with optional columns for a normal or a colour, then a part."""
    return _from_columns(read_array(path), path)


def read_text(path: Path) -> Cloud:
    """The same as text; a first line with the number of points is skipped."""
    return _from_columns(read_table(path, count_line=True), path)


def read_npz(path: Path) -> Cloud:
    """A cloud of named arrays: ``xyz``, and optional ``normals``, ``colours`` and ``part``."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            names = list(archive.files)
            keys = {field: _first(known, names) for field, known in _NPZ_FIELDS.items()}
            _check_sizes(archive.zip, [key for key in keys.values() if key], path)
            arrays = {field: archive[key] for field, key in keys.items() if key is not None}
    except _NPZ_ERRORS as error:
        raise DataError(f"{path}: {_reason(error)}") from None
    if "xyz" not in arrays:
        raise DataError(
            f"{path}: no points: expected one of the keys {', '.join(_XYZ_KEYS)}; "
            f"found {', '.join(names) or 'none'}"
        )
    cloud = _from_columns(arrays["xyz"], path)
    count = len(cloud["xyz"])
    if "normals" in arrays:
        normals = arrays["normals"]
        unit = unit_normals(normals) if normals.shape == (count, 3) else None
        if unit is None:
            raise DataError(
                f"{path}: {keys['normals']!r} must be ({count}, 3) unit vectors, "
                f"found shape {normals.shape}"
            )
        cloud["normals"] = unit
    if "colours" in arrays:
        values = arrays["colours"]
        colours = unit_colours(values) if values.shape == (count, 3) else None
        if colours is None:
            raise DataError(
                f"{path}: {keys['colours']!r} must be ({count}, 3) colours from 0 to 1 or to 255, "
                f"found {values.dtype} of shape {values.shape}"
            )
        cloud["colours"] = colours
    part = arrays.get("part")
    if part is not None and part.ndim > 0 and part.size > 1:  # a single value is a class
        cloud["part"] = part_numbers(part, count, f"{path}: {keys['part']!r}")
    return cloud


def _from_columns(columns: NDArray[Any], path: Path) -> Cloud:
    """A cloud of an ``(N, 3 or more)`` table: coordinates, then normals or colours, then parts."""
    transposed = (
        columns.ndim == 2 and columns.shape[0] == 3 and not 3 <= columns.shape[1] <= _MAX_COLUMNS
    )
    if columns.ndim != 2 or columns.shape[1] < 3 or transposed:
        hint = " (transposed?)" if transposed else ""
        raise DataError(
            f"{path}: expected an (N, 3) table of x y z, found shape {columns.shape}{hint}"
        )
    cloud = Cloud(xyz=columns[:, :3])
    if columns.shape[1] >= 6 and columns.dtype.kind in "fiu":
        normals = unit_normals(columns[:, 3:6])
        colours = unit_colours(columns[:, 3:6]) if normals is None else None
        if normals is not None:
            cloud["normals"] = normals
        elif colours is not None:
            cloud["colours"] = colours
        if (normals is not None or colours is not None) and _are_parts(columns[:, 6:]):
            cloud["part"] = columns[:, 6].astype(np.int64)
    return cloud


def _are_parts(rest: NDArray[Any]) -> bool:
    """Whether the columns after the sixth are one column of whole numbers from 0 to 255, as in the
    text files of ShapeNetPart and the rooms of S3DIS."""
    if rest.shape[1] != 1 or not len(rest):
        return False
    return bool((rest == np.floor(rest)).all()) and 0 <= rest.min() <= rest.max() <= _MAX_PART


def read_array(path: Path) -> NDArray[Any]:
    """The array that ``numpy.save`` wrote.

    Raises:
        DataError: the file is damaged, of another format, or contains pickled objects.
    """
    with path.open("rb") as file:
        if file.read(6) != b"\x93NUMPY":
            raise DataError(
                f"{path}: not a .npy file (no NumPy header; pickles are never loaded). "
                "Save the points with numpy.save as a float array."
            )
    try:
        # Mapped first, so that a header that declares terabytes allocates nothing.
        return np.array(np.load(path, mmap_mode="r", allow_pickle=False))
    except _NPY_ERRORS as error:
        raise DataError(f"{path}: {_reason(error)}") from None


def _check_sizes(archive: zipfile.ZipFile, names: list[str], path: Path) -> None:
    """Raises for arrays whose declared size, which NumPy would allocate, can't be in the file."""
    members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
    for info in (members[name] for name in names):
        with archive.open(info) as file:
            version = np.lib.format.read_magic(file)
            readers = {(1, 0): np.lib.format.read_array_header_1_0}
            read_header = readers.get(version, np.lib.format.read_array_header_2_0)
            shape, _, dtype = read_header(file)
        size = math.prod(shape) * dtype.itemsize
        if (
            size > min(info.file_size, _MAX_EXPANSION * info.compress_size)
            or min(shape, default=0) < 0
        ):
            raise DataError(
                f"{path}: truncated or damaged ({size} bytes of {info.filename} declared)"
            )


def _first(keys: tuple[str, ...], names: list[str]) -> str | None:
    return next((key for key in keys if key in names), None)


def _reason(error: Exception) -> str:
    """NumPy's error about a file in one line."""
    text = " ".join(str(error).split())
    if "allow_pickle" in text or "Python objects" in text or "pickled data" in text:
        return "contains pickled Python objects, which are never loaded; save a plain float array"
    return f"truncated or damaged ({text})"
