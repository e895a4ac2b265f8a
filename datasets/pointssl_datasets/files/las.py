"""LAS, the format of airborne and terrestrial laser scans (ASPRS LAS 1.0 to 1.4), with laspy."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pointssl_datasets.base.errors import DataError
from pointssl_datasets.files.origin import far_origin
from pointssl_datasets.files.triangles import one_line

_RECORD = 54  # bytes of a variable length record, if it is empty
_CHUNK = 1_000_000  # points that are decoded at once: some 50 MB


def read_las(path: Path) -> dict[str, NDArray[Any]]:
    """``xyz (N, 3)`` float32, ``label (N,)`` (the classification), ``colours (N, 3)`` if there are.

    Coordinates are whole numbers with a scale and an offset: they are moved near the origin by
    :func:`~.origin.far_origin` before they become float32, so that millimetres
    survive in UTM coordinates. Besides the result, one chunk and 12 bytes a point are held.

    Raises:
        DataError: not a LAS file, truncated, damaged, or compressed (LAZ) and nothing unpacks it.
    """
    import laspy

    if path.suffix.lower() == ".laz" and not laspy.LazBackend.detect_available():
        raise DataError(
            f"{path}: compressed LAS. Install a decoder (pip install lazrs), or unpack it "
            "(laszip -i FILE.laz -o FILE.las)"
        )
    _refuse(path)
    try:
        with laspy.open(path, read_evlrs=False) as reader:
            return _read(reader, path)
    except DataError:
        raise
    except Exception as error:  # whatever a damaged file leads laspy to
        raise DataError(f"{path}: cannot be read as LAS ({one_line(error)})") from None


def _refuse(path: Path) -> None:
    """What laspy must not be given: it would read four billion records that are not there."""
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
    announced, size = int(header.point_count), int(header.point_format.size)
    there = max(0, path.stat().st_size - int(header.offset_to_point_data)) // size
    if not header.are_points_compressed and there < announced:
        raise DataError(f"{path}: truncated: {announced} points announced, {there} in the file")
    scale, offset = np.array(header.scales, float), np.array(header.offsets, float)
    if not (np.isfinite(scale).all() and np.isfinite(offset).all() and (scale != 0).all()):
        raise DataError(f"{path}: damaged header: scale {scale}, offset {offset}")
    coloured = "red" in header.point_format.dimension_names
    whole: list[NDArray[np.int32]] = []
    colours: list[NDArray[np.uint16]] = []
    label: list[NDArray[np.uint8]] = []
    for points in reader.chunk_iterator(_CHUNK):
        whole.append(np.stack([points.X, points.Y, points.Z], axis=1))  # (n, 3) int32
        label.append(np.asarray(points.classification, dtype=np.uint8))
        if coloured:
            colours.append(np.stack([points.red, points.green, points.blue], axis=1))
    if sum(map(len, whole)) < announced or not whole:
        raise DataError(f"{path}: {announced} points announced, {sum(map(len, whole))} found")
    lowest = np.min([chunk.min(axis=0) for chunk in whole], axis=0)
    highest = np.max([chunk.max(axis=0) for chunk in whole], axis=0)
    ends = np.stack([lowest, highest]) * scale + offset
    shift = offset - far_origin(ends.min(axis=0), ends.max(axis=0))
    xyz = np.empty((announced, 3), dtype=np.float32)
    start = 0
    with np.errstate(over="ignore"):  # infinity is for the caller to refuse
        while whole:
            chunk = whole.pop(0)
            xyz[start : start + len(chunk)] = chunk * scale + shift  # float64, rounded once
            start += len(chunk)
    fields: dict[str, NDArray[Any]] = {"xyz": xyz, "label": np.concatenate(label)}
    if coloured:
        fields["colours"] = np.concatenate(colours)
    return fields
