"""OFF, the Object File Format of Geomview, with the variations of real files.

Headers ``OFF``, ``COFF``, ``NOFF``, ``STOFF`` and their combinations (colours, normals and texture
coordinates after x y z are ignored); ModelNet's headers in which the counts follow without a space
(``OFF490 518 0``); files without a header; comments; polygons; colours after a face.
"""

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pointssl_datasets.base.errors import DataError
from pointssl_datasets.files.triangles import filled_lines, one_line, triangles

_WORD = re.compile(r"\s*(?:ST)?C?N?(4?n?)OFF(.*)$", re.IGNORECASE)


def read_off(path: Path) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Vertices ``(V, 3)`` and triangles ``(F, 3)``.

    Raises:
        DataError: not an OFF file, a binary one, truncated or damaged.
    """
    data = path.read_bytes()
    if re.match(rb"\s*\w*OFF\s+BINARY", data[:80], re.IGNORECASE):
        raise DataError(f"{path}: binary OFF files are not supported; save it as text")
    lines = filled_lines(data)
    vertices, faces, start = _header(lines, path)
    rows = lines[start : start + vertices]
    if len(rows) < vertices:
        raise DataError(f"{path}: truncated: {vertices} vertices declared, {len(rows)} in the file")
    polygons = lines[start + vertices : start + vertices + faces]
    if len(polygons) < faces:
        raise DataError(f"{path}: truncated: {faces} faces declared, {len(polygons)} in the file")
    try:
        xyz = np.empty((0, 3))
        if rows:
            xyz = np.loadtxt(rows, np.float64, comments=None, usecols=(0, 1, 2), ndmin=2)
        return xyz, triangles(polygons)
    except ValueError as error:
        raise DataError(f"{path}: damaged vertices or faces ({one_line(error)})") from None


def _header(lines: list[str], path: Path) -> tuple[int, int, int]:
    """Number of vertices, number of faces, and the number of the first line of vertices."""
    word = _WORD.match(lines[0]) if lines else None
    if word and word[1]:
        raise DataError(f"{path}: only OFF files in three dimensions are supported")
    start = 1
    counts = (word[2] if word else lines[0] if lines else "").split()
    if word and not counts and len(lines) > 1:
        counts, start = lines[1].split(), 2
    if not 2 <= len(counts) <= 3 or not all(re.fullmatch(r"-?\d{1,18}", c) for c in counts):
        if word or (lines and re.fullmatch(r"[\s\d.-]+", lines[0])):
            raise DataError(
                f"{path}: expected the numbers of vertices, faces and edges, "
                f"found {' '.join(counts)[:60]!r}"
            )
        raise DataError(f"{path}: not an OFF file (it does not begin with 'OFF')")
    vertices, faces = int(counts[0]), int(counts[1])
    if vertices < 0 or faces < 0:
        raise DataError(f"{path}: {vertices} vertices and {faces} faces declared")
    return vertices, faces, start
