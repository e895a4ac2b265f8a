"""STL, binary and text: triangles without shared vertices. Normals and attributes are ignored."""

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pointssl_datasets.base.errors import DataError
from pointssl_datasets.files.triangles import one_line

_HEADER = 84  # bytes: 80 of any text, and the number of triangles
_VERTEX = re.compile(rb"\bvertex[ \t]+([^\r\n]+)", re.IGNORECASE)
_TRIANGLE = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])


def read_stl(path: Path) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Vertices ``(3 F, 3)`` and triangles ``(F, 3)``.

    Raises:
        DataError: not an STL file, truncated or damaged.
    """
    data = path.read_bytes()
    count = int.from_bytes(data[80:_HEADER], "little")
    present = max(0, len(data) - _HEADER) // _TRIANGLE.itemsize
    # Many binary files begin with "solid" too: only the length tells them apart.
    if data.lstrip()[:5].lower() == b"solid" and present != count:
        vertices = _text(data, path)
    elif len(data) < _HEADER or present < count:
        raise DataError(
            f"{path}: not an STL file, or truncated: {count} triangles declared, {present} found"
        )
    else:
        rows = np.frombuffer(data, dtype=_TRIANGLE, count=count, offset=_HEADER)
        vertices = rows["corners"].reshape(-1, 3).astype(np.float64)
    return vertices, np.arange(len(vertices), dtype=np.int64).reshape(-1, 3)


def _text(data: bytes, path: Path) -> NDArray[np.float64]:
    """The lines ``vertex x y z``."""
    corners = [xyz.decode("latin-1") for xyz in _VERTEX.findall(data)]
    if len(corners) % 3 or b"endsolid" not in data[-1000:].lower():
        raise DataError(f"{path}: truncated or damaged STL: {len(corners)} corners of triangles")
    if not corners:
        return np.empty((0, 3))
    try:
        return np.loadtxt(corners, np.float64, comments=None, usecols=(0, 1, 2), ndmin=2)
    except ValueError as error:
        raise DataError(f"{path}: damaged vertices ({one_line(error)})") from None
