"""LAS, the format of airborne and terrestrial laser scans (ASPRS LAS 1.0 to 1.4), by laspy."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pointssl_datasets.base.errors import DataError
from pointssl_datasets.files.origin import far_origin
from pointssl_datasets.files.triangles import one_line

_RECORD = 54  # bytes of an empty variable length record
_CHUNK = 1_000_000  # points that are decoded at once: about 50 MB


def read_las(path: Path) -> dict[str, NDArray[Any]]:
    """``xyz (N, 3)`` float32, ``label (N,)`` (the classification), and ``colours (N, 3)`` if any.

    Coordinates are stored as integers with a scale and an offset. :func:`~.origin.far_origin` moves
    them near the origin before they become float32, so that millimetres survive in UTM coordinates.
    Beyond the result, this needs memory for one chunk and 12 bytes per point.

    Raises:
        DataError: not a LAS file, truncated, damaged, or compressed (LAZ) without a decoder.
    """
    import laspy

    if path.suffix.lower() == ".laz" and not laspy.LazBackend.detect_available():
        raise DataError(
            f"{path}: compressed LAS. Install a decoder (pip install lazrs), or unpack it "
            "(laszip -i FILE.laz -o FILE.las)"
        )
    _check(path)
    try:
        with laspy.open(path, read_evlrs=False) as reader:
            return _read(reader, path)
    except DataError:
        raise
    except Exception as error:  # laspy may raise anything for a damaged file
        raise DataError(f"{path}: cannot be read as LAS ({one_line(error)})") from None


def _check(path: Path) -> None:
    """Raises for headers that would make laspy read four billion records that do not exist."""
    with path.open("rb") as file:
        head = file.read(227)  # of LAS 1.0, the shortest
    if head[:4] != b"LASF" or len(head) < 227:
        raise DataError(f"{path}: not a LAS file, or truncated in its header")
    length = int.from_bytes(head[94:96], "little")
    points_at = int.from_bytes(head[96:100], "little")
    records = int.from_bytes(head[100:104], "little")
    if not length + _RECORD * records <= points_at <= path.stat().st_size:
        raise DataError(
            f"{path}: truncated or damaged: {records} records in its header, points from byte "
            f"{points_at} on, and {path.stat().st_size} bytes"
        )


def _read(reader: Any, path: Path) -> dict[str, NDArray[Any]]:
    header = reader.header
    declared, size = int(header.point_count), int(header.point_format.size)
    present = max(0, path.stat().st_size - int(header.offset_to_point_data)) // size
    if not header.are_points_compressed and present < declared:
        raise DataError(f"{path}: truncated: {declared} points declared, {present} in the file")
    scale, offset = np.array(header.scales, float), np.array(header.offsets, float)
    if not (np.isfinite(scale).all() and np.isfinite(offset).all() and (scale != 0).all()):
        raise DataError(f"{path}: damaged header: scale {scale}, offset {offset}")
    coloured = "red" in header.point_format.dimension_names
    integers: list[NDArray[np.int32]] = []
    colours: list[NDArray[np.uint16]] = []
    label: list[NDArray[np.uint8]] = []
    for points in reader.chunk_iterator(_CHUNK):
        integers.append(np.stack([points.X, points.Y, points.Z], axis=1))  # (n, 3) int32
        label.append(np.asarray(points.classification, dtype=np.uint8))
        if coloured:
            colours.append(np.stack([points.red, points.green, points.blue], axis=1))
    count = sum(map(len, integers))
    if count < declared or not integers:
        raise DataError(f"{path}: {declared} points declared, {count} found")
    lowest = np.min([chunk.min(axis=0) for chunk in integers], axis=0)
    highest = np.max([chunk.max(axis=0) for chunk in integers], axis=0)
    ends = np.stack([lowest, highest]) * scale + offset
    shift = offset - far_origin(ends.min(axis=0), ends.max(axis=0))
    xyz = np.empty((declared, 3), dtype=np.float32)
    start = 0
    with np.errstate(over="ignore"):  # the caller refuses infinity
        while integers:
            chunk = integers.pop(0)
            xyz[start : start + len(chunk)] = chunk * scale + shift  # float64, rounded once
            start += len(chunk)
    fields: dict[str, NDArray[Any]] = {"xyz": xyz, "label": np.concatenate(label)}
    if coloured:
        fields["colours"] = np.concatenate(colours)
    return fields
