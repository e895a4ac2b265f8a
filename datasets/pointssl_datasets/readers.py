"""Read one cloud file: ``.ply .npy .npz .txt .xyz .pts``. Nothing in here ever unpickles."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pointssl_datasets.errors import DataError
from pointssl_datasets.ply import read_ply
from pointssl_datasets.source import Cloud

SUFFIXES = (".ply", ".npy", ".npz", ".txt", ".xyz", ".pts")

_XYZ_KEYS = ("xyz", "points", "pos", "data")
_NORMAL_KEYS = ("normals", "normal")
_PART_KEYS = ("part", "label", "seg")


def read_cloud(path: Path) -> Cloud:
    """``xyz (N, 3)`` float32, and ``normals (N, 3)`` and ``part (N,)`` where the file has them.

    In ``.npy`` and text files, columns 4 to 6 are normals if every row of them has unit length
    (within 1%); other further columns are ignored.

    Raises:
        DataError: the file is missing, empty, truncated or damaged, holds pickled objects, has
            the wrong columns, NaN or infinity, fewer than 2 points, or only one place.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise DataError(f"{path}: unknown kind of file; clouds are {' '.join(SUFFIXES)}")
    if not path.is_file():
        raise DataError(f"{path}: {'is not a file' if path.exists() else 'no such file'}")
    try:
        if path.stat().st_size == 0:
            raise DataError(f"{path}: the file is empty")
        if suffix == ".npy":
            cloud = _from_columns(_read_npy(path), path)
        elif suffix == ".npz":
            cloud = _read_npz(path)
        elif suffix == ".ply":
            cloud = _from_columns(read_ply(path), path)
        else:
            cloud = _from_columns(_read_text(path), path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None
    cloud["xyz"] = check_xyz(cloud["xyz"], str(path))
    return cloud


def check_xyz(xyz: NDArray[Any], where: str) -> NDArray[np.float32]:
    """``xyz`` as contiguous finite float32 ``(N, 3)`` with at least two different points.

    Args:
        xyz: any array that ought to be ``(N, 3)``.
        where: file, or file and row, for the message.

    Raises:
        DataError: it is not that.
    """
    if xyz.ndim != 2 or xyz.shape[1] != 3 or xyz.dtype.kind not in "fiu":
        raise DataError(f"{where}: expected (N, 3) numbers, found {xyz.dtype} of shape {xyz.shape}")
    with np.errstate(over="ignore"):  # what overflows float32 is reported as infinite below
        xyz = np.ascontiguousarray(xyz, dtype=np.float32)
    if len(xyz) < 2:
        raise DataError(f"{where}: {len(xyz)} points; a cloud needs at least 2")
    finite = np.isfinite(xyz).all(axis=1)
    if not finite.all():
        bad = np.flatnonzero(~finite)
        raise DataError(
            f"{where}: {len(bad)} of {len(xyz)} points are NaN or infinite, "
            f"the first at row {bad[0]} (counted from 0)"
        )
    if (xyz == xyz[0]).all():
        raise DataError(f"{where}: all {len(xyz)} points are identical")
    return xyz


def unit_normals(columns: NDArray[Any]) -> NDArray[np.float32] | None:
    """``(N, 3)`` scaled to exactly unit length, or None if some row is not a unit vector."""
    with np.errstate(over="ignore"):
        normals = columns.astype(np.float32)
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    return normals / length if (np.abs(length - 1) < 0.01).all() else None


def _from_columns(columns: NDArray[Any], path: Path) -> Cloud:
    """Coordinates and perhaps normals out of an ``(N, 3+)`` table."""
    if columns.ndim != 2 or columns.shape[1] < 3:
        turned = " (transposed?)" if columns.ndim == 2 and columns.shape[0] == 3 else ""
        raise DataError(
            f"{path}: expected an (N, 3) table of x y z, found shape {columns.shape}{turned}"
        )
    cloud = Cloud(xyz=columns[:, :3])
    if columns.shape[1] >= 6:
        normals = unit_normals(columns[:, 3:6])
        if normals is not None:
            cloud["normals"] = normals
    return cloud


def _read_npy(path: Path) -> NDArray[Any]:
    with path.open("rb") as file:
        if file.read(6) != b"\x93NUMPY":
            raise DataError(
                f"{path}: not a .npy file (no NumPy header; pickles are never loaded). "
                "Save the points with numpy.save as a float array."
            )
    try:
        # Mapped first, so that a header that promises terabytes allocates nothing.
        return np.array(np.load(path, mmap_mode="r", allow_pickle=False))
    except (ValueError, EOFError, SyntaxError, TypeError) as error:
        raise DataError(f"{path}: {_why(error)}") from None


def _read_npz(path: Path) -> Cloud:
    try:
        with np.load(path, allow_pickle=False) as archive:
            names = list(archive.files)
            found = {key: _first(keys, names) for key, keys in _NPZ_FIELDS.items()}
            arrays = {key: archive[name] for key, name in found.items() if name is not None}
    except (ValueError, EOFError, zipfile.BadZipFile, KeyError, SyntaxError) as error:
        raise DataError(f"{path}: {_why(error)}") from None
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
                f"{path}: {found['normals']!r} must be ({count}, 3) unit vectors, "
                f"found shape {normals.shape}"
            )
        cloud["normals"] = unit
    part = arrays.get("part")
    if part is not None and part.ndim > 0 and part.size > 1:  # one value is a class, not parts
        if part.size != count or part.dtype.kind not in "iu" or part.min() < 0:
            raise DataError(
                f"{path}: {found['part']!r} must be {count} part numbers from 0, "
                f"found {part.dtype} of shape {part.shape}"
            )
        cloud["part"] = part.reshape(-1).astype(np.int64)
    return cloud


_NPZ_FIELDS = {"xyz": _XYZ_KEYS, "normals": _NORMAL_KEYS, "part": _PART_KEYS}


def _first(keys: tuple[str, ...], names: list[str]) -> str | None:
    return next((key for key in keys if key in names), None)


def _read_text(path: Path) -> NDArray[Any]:
    """Rows of numbers, parted by white space or commas; a first line with the count is skipped."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise DataError(f"{path}: is not a text file") from None
    rows = [line.replace(",", " ") for line in lines]
    filled = [i for i, row in enumerate(rows) if row.strip() and not row.lstrip().startswith("#")]
    if not filled:
        raise DataError(f"{path}: the file holds no points")
    if len(filled) > 1 and rows[filled[0]].split() == [str(len(filled) - 1)]:
        filled = filled[1:]
    try:
        return np.loadtxt([rows[i] for i in filled], dtype=np.float64, ndmin=2)
    except ValueError:
        pass
    width = len(rows[filled[0]].split())
    for i in filled:  # slow, but only on the way to an error: which line is it?
        cells = rows[i].split()
        if len(cells) != width:
            raise DataError(f"{path}: line {i + 1} has {len(cells)} columns, earlier ones {width}")
        if not all(map(_is_number, cells)):
            raise DataError(f"{path}: line {i + 1} is not numbers: {lines[i][:60]!r}")
    raise DataError(f"{path}: is not a table of numbers")


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _why(error: Exception) -> str:
    """One line for NumPy's complaint about a file."""
    text = " ".join(str(error).split())
    if "allow_pickle" in text or "Python objects" in text or "pickled data" in text:
        return "holds pickled Python objects, which are never loaded; save a plain float array"
    return f"truncated or damaged ({text})"
