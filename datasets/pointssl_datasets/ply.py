"""The vertices of a PLY file (ascii, binary little- or big-endian), without its faces."""

import itertools
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pointssl_datasets.errors import DataError

_TYPES = {
    "char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4",
    "float": "f4", "double": "f8", "int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2",
    "int32": "i4", "uint32": "u4", "float32": "f4", "float64": "f8",
}  # fmt: skip
_ORDERS = {"ascii": "=", "binary_little_endian": "<", "binary_big_endian": ">"}


class _Header(NamedTuple):
    order: str  # one of the values of _ORDERS
    vertices: int
    properties: list[tuple[str, str]]  # (name, NumPy type), in file order


def read_ply(path: Path) -> NDArray[Any]:
    """``(N, 3)`` coordinates, or ``(N, 6)`` with ``nx ny nz``; other properties are left out.

    Raises:
        DataError: not a PLY file, truncated, no ``x y z``, or vertices behind another element.
    """
    with path.open("rb") as file:
        header = _read_header(file, path)
        names = [name for name, _ in header.properties]
        wanted = ["x", "y", "z"]
        missing = [name for name in wanted if name not in names]
        if missing:
            raise DataError(
                f"{path}: the vertices have no {' '.join(missing)}; found {' '.join(names)}"
            )
        if all(name in names for name in ("nx", "ny", "nz")):
            wanted += ["nx", "ny", "nz"]
        if header.order == "=":
            table = _read_ascii(file, header, path)
            return table[:, [names.index(name) for name in wanted]]
        dtype = np.dtype([(name, header.order + kind) for name, kind in header.properties])
        raw = file.read()  # all, rather than the length that a damaged header announces
    if len(raw) < header.vertices * dtype.itemsize:
        raise DataError(
            f"{path}: truncated: {header.vertices} vertices announced, "
            f"{len(raw) // dtype.itemsize} in the file"
        )
    rows = np.frombuffer(raw, dtype=dtype, count=header.vertices)
    return np.stack([rows[name].astype(np.float64) for name in wanted], axis=1)


def _read_header(file: BinaryIO, path: Path) -> _Header:
    if file.readline(16).strip() != b"ply":
        raise DataError(f"{path}: not a PLY file (its first line is not 'ply')")
    order, elements = "", []
    count, properties = 0, []
    for _ in range(1000):
        words = file.readline(4096).decode("ascii", "replace").split()
        try:
            if not words:
                raise DataError(f"{path}: truncated in its header")
            if words[0] == "end_header":
                break
            if words[0] == "format":
                order = _ORDERS[words[1]]
            elif words[0] == "element":
                elements.append(words[1])
                if words[1] == "vertex":
                    count = int(words[2])
            elif words[0] == "property" and elements[-1] == "vertex":
                properties.append((words[2], _TYPES[words[1]]))
        except (KeyError, IndexError, ValueError):
            raise DataError(f"{path}: PLY header line not understood: {' '.join(words)}") from None
    else:
        raise DataError(f"{path}: its PLY header does not end")
    if not order or not elements or elements[0] != "vertex" or count < 0:
        raise DataError(
            f"{path}: expected a PLY whose first element is 'vertex'; found {elements or 'none'}"
        )
    if len({name for name, _ in properties}) < len(properties):
        raise DataError(f"{path}: a vertex property is named twice")
    return _Header(order, count, properties)


def _read_ascii(file: BinaryIO, header: _Header, path: Path) -> NDArray[np.float64]:
    lines = [line for line in itertools.islice(file, header.vertices) if line.strip()]
    if len(lines) < header.vertices:
        raise DataError(
            f"{path}: truncated: {header.vertices} vertices announced, {len(lines)} in the file"
        )
    if not lines:
        return np.empty((0, len(header.properties)))
    try:
        table = np.loadtxt(lines, dtype=np.float64, ndmin=2)
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{path}: damaged vertices ({reason})") from None
    if table.shape[1] != len(header.properties):
        raise DataError(
            f"{path}: {len(header.properties)} properties announced, {table.shape[1]} in the rows"
        )
    return table
