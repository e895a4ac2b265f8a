"""Checks of arrays before they become the fields of a cloud, and their conversion to its types."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pointssl_datasets.base.errors import DataError
from pointssl_datasets.base.source import Cloud


def check_xyz(xyz: NDArray[Any], where: str) -> NDArray[np.float32]:
    """``xyz`` as contiguous finite float32 ``(N, 3)`` with at least two different points.

    Args:
        xyz: any array that should be ``(N, 3)``.
        where: file, or file and row, for the message.

    Raises:
        DataError: another shape or type, NaN, infinity, or fewer than two different points.
    """
    if xyz.ndim != 2 or xyz.shape[1] != 3 or xyz.dtype.kind not in "fiu":
        raise DataError(f"{where}: expected (N, 3) numbers, found {xyz.dtype} of shape {xyz.shape}")
    with np.errstate(over="ignore"):  # values that overflow float32 are reported below
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
    """``(N, 3)`` normalised, or None if some row is not a unit vector to within 1%."""
    with np.errstate(over="ignore"):
        normals = columns.astype(np.float32)
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    return normals / length if (np.abs(length - 1) < 0.01).all() else None


def unit_colours(columns: NDArray[Any]) -> NDArray[np.float32] | None:
    """``(N, 3)`` red, green, blue as 0-1, or None if the values can't be colours.

    Colours are numbers from 0 to 1; whole numbers from 0 to 255; or, in an unsigned integer type,
    up to 65535. Where columns have no names (``.npy``, text), the caller has already taken rows of
    unit length for normals.
    """
    if columns.dtype.kind not in "fiu" or not len(columns):
        return None
    lowest, highest = float(columns.min()), float(columns.max())
    whole = columns.dtype.kind in "iu" or bool((columns == np.floor(columns)).all())
    if not 0 <= lowest <= highest:
        return None
    if columns.dtype.kind == "f" and highest <= 1:
        return columns.astype(np.float32)
    if whole and highest <= 255:
        return columns.astype(np.float32) / np.float32(255)
    if columns.dtype.kind == "u" and highest <= 65535:
        return columns.astype(np.float32) / np.float32(65535)
    return None


def part_numbers(values: NDArray[Any], count: int, where: str) -> NDArray[np.int64]:
    """``(count,)`` part numbers as int64.

    Raises:
        DataError: another number of values, not integers, or negative.
    """
    if values.size != count or values.dtype.kind not in "iu" or (count and values.min() < 0):
        raise DataError(
            f"{where} must be {count} part numbers from 0, "
            f"found {values.dtype} of shape {values.shape}"
            + (f" down to {values.min()}" if values.size and values.dtype.kind in "iu" else "")
        )
    return values.reshape(-1).astype(np.int64)


def from_fields(fields: dict[str, NDArray[Any]], path: Path) -> Cloud:
    """A cloud from a file format that names its fields.

    Values that can't be normals or colours are left out, and so are labels if some are negative, as
    in scans with unlabelled points.
    """
    cloud = Cloud(xyz=fields["xyz"])
    normals = unit_normals(fields["normals"]) if "normals" in fields else None
    colours = unit_colours(fields["colours"]) if "colours" in fields else None
    if normals is not None:
        cloud["normals"] = normals
    if colours is not None:
        cloud["colours"] = colours
    if "label" in fields and not (fields["label"] < 0).any():
        cloud["part"] = part_numbers(fields["label"], len(fields["xyz"]), f"{path}: its labels")
    return cloud
