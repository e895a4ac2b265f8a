"""Wavefront OBJ: vertices and faces. Materials, textures, normals and lines are ignored.

Not read by trimesh, which counts a negative index from the end of the file. The format counts it
from the line where it is written.
"""

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pointssl_datasets.base.errors import DataError
from pointssl_datasets.files.triangles import fans, filled_lines, one_line


def read_obj(path: Path) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Vertices ``(V, 3)`` and triangles ``(F, 3)`` of all objects and groups.

    Raises:
        DataError: no vertices, or damaged.
    """
    data = path.read_bytes().replace(b"\\\r\n", b" ").replace(b"\\\n", b" ")
    points, faces, previous = [], [], []  # previous: number of vertices before each face
    for line in filled_lines(data):
        head, _, rest = line.lstrip().partition(" ")
        if "\t" in head:
            head, _, rest = line.lstrip().partition("\t")
        if head == "v":
            points.append(rest)
        elif head == "f":
            faces.append(rest)
            previous.append(len(points))
    if not points:
        raise DataError(
            f"{path}: not a Wavefront OBJ file, or one without vertices (lines 'v x y z')"
        )
    try:
        vertices = np.loadtxt(points, np.float64, comments=None, usecols=(0, 1, 2), ndmin=2)
        return vertices, _triangles(faces, np.array(previous, dtype=np.int64))
    except ValueError as error:
        raise DataError(f"{path}: damaged vertices or faces ({one_line(error)})") from None


def _triangles(rows: list[str], previous: NDArray[np.int64]) -> NDArray[np.int64]:
    """Triangles of rows ``7/1/3 8/2/3 9//3``: the vertex is the number before the slash, from 1."""
    if any("/" in row for row in rows):
        rows = re.sub(r"/[^\s]*", "", "\n".join(rows)).split("\n")
    if any("-" in row for row in rows):
        rows = [_absolute(row, count) for row, count in zip(rows, previous.tolist(), strict=True)]
    corners = np.array([len(row.split()) for row in rows], dtype=np.int64)
    triangles = fans(rows, corners, 0)
    if (triangles == 0).any():
        raise ValueError("a face refers to vertex 0, but vertices are counted from 1")
    return triangles - 1


def _absolute(row: str, previous: int) -> str:
    """The row with positive indices; -1 is the last of the ``previous`` vertices."""
    return " ".join(str(i if i >= 0 else previous + 1 + i) for i in map(int, row.split()))
