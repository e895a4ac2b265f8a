"""PCD, the format of the Point Cloud Library: ascii, binary, and binary_compressed (LZF).

Rusu and Cousins, 3D is here: Point Cloud Library, ICRA 2011; file format version 0.7 (and 0.6,
0.5). The fields that are read are x y z, normal_x normal_y normal_z, rgb or rgba, and label.
VIEWPOINT, the pose of the sensor, is not applied: the points are used as they are stored.
"""

from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pointssl_datasets.base.errors import DataError
from pointssl_datasets.files.triangles import one_line

_KINDS = {"F4", "F8", "U1", "U2", "U4", "U8", "I1", "I2", "I4", "I8"}
_MAX_POINT_SIZE = 1 << 20  # bytes; histograms have a few thousand
_MAX_EXPANSION = 100  # LZF turns 3 bytes into at most 264


class _Header(NamedTuple):
    row: np.dtype[Any]  # one point, with padding and fields of several values
    points: int
    organised: bool  # HEIGHT > 1: from a depth camera
    data: str


def read_pcd(path: Path) -> dict[str, NDArray[Any]]:
    """``xyz (N, 3)``, and ``normals``, ``colours`` (uint8, 0-255) and ``label`` if there are any.

    In an organised cloud (HEIGHT above 1) a NaN means that the sensor saw nothing there; such
    points are left out. In an unorganised cloud they are kept, and the caller refuses them.

    Raises:
        DataError: not a PCD file, truncated or damaged, or without x y z.
    """
    with path.open("rb") as file:
        header = _read_header(file, path)
        data = file.read()
    names = header.row.names or ()
    missing = [name for name in ("x", "y", "z") if name not in names]
    if missing:
        raise DataError(f"{path}: no fields {' '.join(missing)}; found {' '.join(names)}")
    columns = _COLUMNS[header.data](data, header, path)
    fields = {"xyz": np.stack([columns[name] for name in ("x", "y", "z")], axis=1)}
    normals = ("normal_x", "normal_y", "normal_z")
    if all(name in columns for name in normals):
        fields["normals"] = np.stack([columns[name] for name in normals], axis=1)
    for name in ("rgb", "rgba"):
        if name in columns and columns[name].dtype.itemsize == 4 and columns[name].ndim == 1:
            packed = np.ascontiguousarray(columns[name]).view(np.uint32)
            fields["colours"] = np.stack([packed >> s & 255 for s in (16, 8, 0)], 1).astype("u1")
    if "label" in columns and columns["label"].dtype.kind in "iu":
        fields["label"] = columns["label"]
    if header.organised:
        valid = ~np.isnan(fields["xyz"]).any(axis=1)
        fields = {name: values[valid] for name, values in fields.items()}
    return fields


def _read_header(file: BinaryIO, path: Path) -> _Header:
    lines: dict[str, list[str]] = {}
    for _ in range(100):
        line = file.readline(1 << 16)
        if not line:
            raise DataError(f"{path}: not a PCD file, or truncated in its header (no DATA line)")
        words = line.decode("ascii", "replace").split()
        if words and not words[0].startswith("#"):
            lines[words[0].upper()] = words[1:]
            if words[0].upper() == "DATA":
                break
    try:
        names = lines.get("FIELDS") or lines["COLUMNS"]
        counts = [int(count) for count in lines.get("COUNT") or ["1"] * len(names)]
        kinds = [t + s for t, s in zip(lines["TYPE"], lines["SIZE"], strict=True)]
        width, height = int(lines["WIDTH"][0]), int(lines["HEIGHT"][0])
        points = int(lines["POINTS"][0]) if "POINTS" in lines else width * height
        data = lines["DATA"][0].lower()
    except (KeyError, IndexError, ValueError) as error:
        raise DataError(f"{path}: invalid PCD header ({one_line(error)})") from None
    if not len(names) == len(kinds) == len(counts) or not set(kinds) <= _KINDS:
        raise DataError(f"{path}: PCD header: FIELDS, SIZE, TYPE and COUNT do not match")
    if data not in _COLUMNS:
        raise DataError(f"{path}: DATA {data!r}: expected {', '.join(_COLUMNS)}")
    if min(width, height, *counts) < 0 or points != width * height:
        raise DataError(f"{path}: PCD header: {points} POINTS, but {width} x {height}")
    size = sum(int(kind[1:]) * count for kind, count in zip(kinds, counts, strict=True))
    if not 0 < size <= _MAX_POINT_SIZE:
        raise DataError(f"{path}: PCD header: a point of {size} bytes")
    fields = []
    for i, (name, kind, count) in enumerate(zip(names, kinds, counts, strict=True)):
        unique = name if names.index(name) == i and name != "_" else f"_{i}"
        fields.append((unique, "<" + kind.lower(), () if count == 1 else (count,)))
    return _Header(np.dtype(fields), points, height > 1, data)


def _truncated(path: Path, header: _Header, present: int) -> DataError:
    return DataError(f"{path}: truncated: {header.points} points declared, {present} in the file")


def _ascii(data: bytes, header: _Header, path: Path) -> dict[str, NDArray[Any]]:
    lines = [line for line in data.decode("latin-1").splitlines() if line and not line.isspace()]
    if len(lines) < header.points:
        raise _truncated(path, header, len(lines))
    first, scalars = 0, {}  # nothing uses fields of several values
    for name in header.row.names or ():
        kind, count = header.row[name].base, int(np.prod(header.row[name].shape, dtype=int))
        if header.row[name].shape == () and name[0] != "_":
            scalars[name] = (first, kind)
        first += count
    try:
        table = np.empty((0, len(scalars)))
        if header.points:
            columns = [column for column, _ in scalars.values()]
            rows = lines[: header.points]
            # PCL writes integers of up to 32 bits, which float64 represents exactly.
            table = np.loadtxt(rows, np.float64, comments=None, usecols=columns, ndmin=2)
    except ValueError as error:
        raise DataError(f"{path}: damaged points ({one_line(error)})") from None
    with np.errstate(over="ignore", invalid="ignore"):
        return {
            name: values.astype(kind)
            for values, (name, (_, kind)) in zip(table.T, scalars.items(), strict=True)
        }


def _binary(data: bytes, header: _Header, path: Path) -> dict[str, NDArray[Any]]:
    if len(data) < header.points * header.row.itemsize:
        raise _truncated(path, header, len(data) // header.row.itemsize)
    rows = np.frombuffer(data, dtype=header.row, count=header.points)
    return {name: rows[name] for name in rows.dtype.names or ()}


def _compressed(data: bytes, header: _Header, path: Path) -> dict[str, NDArray[Any]]:
    """Field by field: all x, then all y, ..."""
    packed = int.from_bytes(data[:4], "little")
    size = int.from_bytes(data[4:8], "little")
    if len(data) < 8 + packed:
        raise DataError(f"{path}: truncated: {packed} bytes declared, {len(data) - 8} in the file")
    if size != header.points * header.row.itemsize or size > _MAX_EXPANSION * packed:
        raise DataError(
            f"{path}: damaged: {packed} compressed bytes cannot contain {header.points} points of "
            f"{header.row.itemsize} bytes in {size}"
        )
    try:
        raw = lzf_decompress(data[8 : 8 + packed], size)
    except ValueError as error:
        raise DataError(f"{path}: damaged compressed points ({error})") from None
    columns, start = {}, 0
    for name in header.row.names or ():
        kind = header.row[name]
        values = np.frombuffer(
            raw,
            dtype=kind.base,
            offset=start,
            count=header.points * int(np.prod(kind.shape, dtype=int)),
        )
        columns[name] = values.reshape(header.points, *kind.shape)
        start += values.nbytes
    return columns


def lzf_decompress(data: bytes, size: int) -> bytes:
    """Marc Lehmann's LZF, as in liblzf 3.6.

    A control byte below 32 is followed by that many plus one literal bytes. A larger one has a
    length in its upper 3 bits (7: the next byte is added) and, together with one more byte, the
    distance back to the bytes that are repeated.

    Args:
        data: the compressed bytes.
        size: number of decompressed bytes.

    Raises:
        ValueError: another number of bytes results, or a distance leads before the beginning.
    """
    out = bytearray()
    at, end = 0, len(data)
    try:
        while at < end and len(out) <= size:
            control = data[at]
            at += 1
            if control < 32:
                if at + control >= end:
                    raise IndexError
                out += data[at : at + control + 1]
                at += control + 1
                continue
            length = control >> 5
            if length == 7:
                length += data[at]
                at += 1
            length += 2
            back = ((control & 31) << 8) + data[at] + 1
            at += 1
            start = len(out) - back
            if start < 0:
                raise ValueError(f"refers to {-start} bytes before its beginning")
            if back >= length:
                out += out[start : start + length]
            else:  # it repeats bytes that it is just writing
                out += (bytes(out[start:]) * (length // back + 1))[:length]
    except IndexError:
        raise ValueError("ends in the middle of a run") from None
    if len(out) != size:
        raise ValueError(f"{len(out)} bytes result, {size} are declared")
    return bytes(out)


_COLUMNS = {"ascii": _ascii, "binary": _binary, "binary_compressed": _compressed}
