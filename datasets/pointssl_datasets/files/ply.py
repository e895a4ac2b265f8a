"""PLY (ascii, binary little- or big-endian): all properties of the vertices, and the faces.

Turk, The PLY Polygon File Format, Stanford 1994. Vertices must be the first element; elements after
the faces are not read.
"""

from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pointssl_datasets.base.errors import DataError
from pointssl_datasets.files.triangles import fan, one_line, triangles

_TYPES = {
    "char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4",
    "float": "f4", "double": "f8", "int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2",
    "int32": "i4", "uint32": "u4", "float32": "f4", "float64": "f8",
}  # fmt: skip
_ORDERS = {"ascii": "=", "binary_little_endian": "<", "binary_big_endian": ">"}
_CORNERS = ("vertex_indices", "vertex_index")


class Ply(NamedTuple):
    """The content of a PLY file."""

    vertices: dict[str, NDArray[Any]]  # property -> values (V,), in the file's type
    faces: NDArray[np.int64]  # (F, 3), unchecked; (0, 3) if there are none

    def columns(self, *names: str) -> NDArray[Any]:
        """These properties of the vertices, ``(V, len(names))``."""
        return np.stack([self.vertices[name] for name in names], axis=1)

    def has(self, *names: str) -> bool:
        """Whether the vertices have all of these properties."""
        return all(name in self.vertices for name in names)


class _Property(NamedTuple):
    name: str
    kind: str  # NumPy type, with byte order
    length: str = ""  # type of the length of a list


class _Element(NamedTuple):
    name: str
    total: int
    properties: list[_Property]


def read_ply(path: Path) -> Ply:
    """The vertices, and the faces as triangles (polygons are cut into fans).

    Raises:
        DataError: not a PLY file, truncated, no ``x y z``, or vertices after another element.
    """
    with path.open("rb") as file:
        order, elements = _read_header(file, path)
        data = file.read()  # everything, as a damaged header may declare any length
    vertex, rest = elements[0], elements[1:]
    names = [p.name for p in vertex.properties]
    missing = [name for name in ("x", "y", "z") if name not in names]
    if missing:
        raise DataError(
            f"{path}: the vertices have no {' '.join(missing)}; found {' '.join(names)}"
        )
    try:
        return (_ascii if order == "=" else _binary)(data, vertex, rest, path)
    except ValueError as error:
        raise DataError(f"{path}: damaged vertices or faces ({one_line(error)})") from None


def _read_header(file: BinaryIO, path: Path) -> tuple[str, list[_Element]]:
    if file.readline(16).strip() != b"ply":
        raise DataError(f"{path}: not a PLY file (its first line is not 'ply')")
    order = ""
    elements: list[_Element] = []
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
                elements.append(_Element(words[1], int(words[2]), []))
            elif words[0] == "property":
                elements[-1].properties.append(_property(words[1:], order))
        except (KeyError, IndexError, ValueError):
            raise DataError(f"{path}: invalid PLY header line: {' '.join(words)}") from None
    else:
        raise DataError(f"{path}: its PLY header does not end")
    if not order or not elements or elements[0].name != "vertex":
        names = [element.name for element in elements] or "none"
        raise DataError(f"{path}: expected a PLY whose first element is 'vertex'; found {names}")
    if any(element.total < 0 for element in elements):
        raise DataError(f"{path}: damaged header: a negative number of {elements[0].name}")
    if any(p.length for p in elements[0].properties):
        raise DataError(f"{path}: lists of values in its vertices are not supported")
    for element in elements:
        if len({p.name for p in element.properties}) < len(element.properties):
            raise DataError(f"{path}: a {element.name} property occurs twice")
    return order, elements


def _property(words: list[str], order: str) -> _Property:
    if words[0] == "list":
        return _Property(words[3], order + _TYPES[words[2]], order + _TYPES[words[1]])
    return _Property(words[1], order + _TYPES[words[0]])


def _truncated(path: Path, what: str, declared: int, present: int) -> DataError:
    return DataError(f"{path}: truncated: {declared} {what} declared, {present} in the file")


# ------------------------------------------------------------------------------------------ ascii


def _ascii(data: bytes, vertex: _Element, rest: list[_Element], path: Path) -> Ply:
    lines = [line for line in data.decode("latin-1").splitlines() if line and not line.isspace()]
    if len(lines) < vertex.total:
        raise _truncated(path, "vertices", vertex.total, len(lines))
    table = np.empty((0, len(vertex.properties)))
    if vertex.total:
        table = np.loadtxt(lines[: vertex.total], dtype=np.float64, comments=None, ndmin=2)
    if table.shape[1] != len(vertex.properties):
        raise DataError(
            f"{path}: {len(vertex.properties)} properties declared, {table.shape[1]} in the rows"
        )
    columns = zip(vertex.properties, table.T, strict=True)
    with np.errstate(over="ignore", invalid="ignore"):
        vertices = {p.name: column.astype(p.kind) for p, column in columns}
    faces, start = np.empty((0, 3), dtype=np.int64), vertex.total
    for element in rest:
        rows = lines[start : start + element.total]
        start += element.total
        at = [i for i, p in enumerate(element.properties) if p.name in _CORNERS and p.length]
        if element.name == "face" and at:
            if len(rows) < element.total:
                raise _truncated(path, "faces", element.total, len(rows))
            if any(p.length for p in element.properties[: at[0]]):
                raise DataError(f"{path}: a list before the corners of its faces is not supported")
            faces = triangles(rows, at[0])
            break
    return Ply(vertices, faces)


# ----------------------------------------------------------------------------------------- binary


def _binary(data: bytes, vertex: _Element, rest: list[_Element], path: Path) -> Ply:
    dtype = np.dtype([(p.name, p.kind) for p in vertex.properties])
    if len(data) < vertex.total * dtype.itemsize:
        raise _truncated(path, "vertices", vertex.total, len(data) // dtype.itemsize)
    rows = np.frombuffer(data, dtype=dtype, count=vertex.total)
    faces, start = np.empty((0, 3), dtype=np.int64), vertex.total * dtype.itemsize
    for element in rest if any(element.name == "face" for element in rest) else []:
        corners = [p for p in element.properties if p.name in _CORNERS and p.length]
        lists, start = _lists(data, start, element, corners[0] if corners else None, path)
        if element.name == "face":
            fans = [fan(polygons) for polygons in lists if polygons.shape[1] >= 3]
            faces = np.concatenate([faces, *fans])
            break
    return Ply({name: rows[name] for name in rows.dtype.names or ()}, faces)


def _lists(
    data: bytes, start: int, element: _Element, wanted: _Property | None, path: Path
) -> tuple[list[NDArray[np.int64]], int]:
    """The lists ``wanted`` of an element, one array per length, and the end of the element."""
    if not element.total:
        return [], start
    # Nearly always the lists of all rows have the lengths of those in the first row.
    dtype = _row_dtype(data, start, element, path)
    end = start + element.total * dtype.itemsize
    if end <= len(data):
        rows = np.frombuffer(data, dtype=dtype, count=element.total, offset=start)
        lengths = [rows[f"{i} length"] for i, p in enumerate(element.properties) if p.length]
        if all((length == length[0]).all() for length in lengths):
            if wanted is None:
                return [], end
            polygons = rows[str(element.properties.index(wanted))]
            return [polygons.reshape(element.total, -1).astype(np.int64)], end
    return _walk(data, start, element, wanted, path)


def _row_dtype(data: bytes, start: int, element: _Element, path: Path) -> np.dtype[Any]:
    """The type of rows whose lists have the lengths of those in the row at ``start``."""
    fields: list[tuple[str, str] | tuple[str, str, tuple[int]]] = []
    for i, p in enumerate(element.properties):
        if p.length:
            length = _length(data, start, p, path, element)
            fields += [(f"{i} length", p.length), (str(i), p.kind, (length,))]
            start += np.dtype(p.length).itemsize + length * np.dtype(p.kind).itemsize
        else:
            fields.append((str(i), p.kind))
            start += np.dtype(p.kind).itemsize
    return np.dtype(fields)


def _length(data: bytes, start: int, p: _Property, path: Path, element: _Element) -> int:
    """The length of the list at ``start``, all of which must be in the file."""
    size = np.dtype(p.length).itemsize
    if start + size > len(data):
        raise DataError(f"{path}: truncated in its {element.total} declared {element.name}s")
    length = int(np.frombuffer(data, dtype=p.length, count=1, offset=start)[0])
    if length < 0 or start + size + length * np.dtype(p.kind).itemsize > len(data):
        raise DataError(f"{path}: truncated or damaged: a {element.name} with {length} values")
    return length


def _walk(
    data: bytes, start: int, element: _Element, wanted: _Property | None, path: Path
) -> tuple[list[NDArray[np.int64]], int]:
    """:func:`_lists` for lists of different lengths, row by row."""
    starts_of: dict[int, list[int]] = {}  # length -> where such lists start
    for _ in range(element.total):
        if start >= len(data):
            raise DataError(f"{path}: truncated in its {element.total} declared {element.name}s")
        for p in element.properties:
            size = np.dtype(p.kind).itemsize
            if p.length:
                length = _length(data, start, p, path, element)
                start += np.dtype(p.length).itemsize
                if p is wanted:
                    starts_of.setdefault(length, []).append(start)
                size *= length
            start += size
    if wanted is None:
        return [], start
    raw = np.frombuffer(data, dtype=np.uint8)
    size = np.dtype(wanted.kind).itemsize
    return [
        raw[np.array(starts)[:, None] + np.arange(length * size)].view(wanted.kind).astype(np.int64)
        for length, starts in starts_of.items()
        if length
    ], start
