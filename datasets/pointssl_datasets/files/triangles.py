"""Shared by the readers of mesh files: lines without comments, and polygons as triangles."""

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def filled_lines(data: bytes) -> list[str]:
    """The lines of a text file, without comments (from ``#`` on), empty lines and byte order mark.

    Numbers are ASCII in every mesh format, so the encoding makes no difference.
    """
    if b"#" in data:
        data = re.sub(rb"#[^\r\n]*", b"", data)
    lines = data.removeprefix(b"\xef\xbb\xbf").decode("latin-1").splitlines()
    return [line for line in lines if line and not line.isspace()]


def triangles(rows: Sequence[str], first: int = 0) -> NDArray[np.int64]:
    """``(F, 3)`` of polygons written as ``corners i j k ...``, from column ``first`` on.

    Raises:
        ValueError: a corner is missing or is not a whole number.
    """
    if not rows:
        return np.empty((0, 3), dtype=np.int64)
    columns = range(first, first + 4)
    try:  # nearly every file has only triangles
        table = np.loadtxt(rows, dtype=np.int64, comments=None, usecols=columns, ndmin=2)
    except ValueError:  # e.g. a polygon of two corners
        corners = np.loadtxt(rows, dtype=np.int64, comments=None, usecols=first, ndmin=1)
    else:
        corners = table[:, 0]
        if (corners == 3).all():
            return table[:, 1:]
    if corners.min() < 0:
        raise ValueError(f"a face of {corners.min()} corners")
    return fans(rows, corners, first + 1)


def fans(rows: Sequence[str], corners: NDArray[np.int64], first: int) -> NDArray[np.int64]:
    """Polygons, one per line, as triangles ``(F, 3)``; each polygon is cut into a fan.

    Args:
        rows: one polygon each, numbers separated by white space.
        corners: ``(len(rows),)``, the number of corners of each; below 3 there is no triangle.
        first: column of the first corner. Columns after the last corner are ignored.

    Raises:
        ValueError: a corner is missing or is not a whole number.
    """
    parts = [np.empty((0, 3), dtype=np.int64)]
    for count in np.unique(corners[corners >= 3]).tolist():
        same = [rows[i] for i in np.flatnonzero(corners == count).tolist()]
        if 2 * count - 1 > max(map(len, same)):  # too short; checked before allocating columns
            raise ValueError(f"a polygon of {count} corners does not have them")
        columns = range(first, first + count)
        polygons = np.loadtxt(same, dtype=np.int64, comments=None, usecols=columns, ndmin=2)
        parts.append(fan(polygons))
    return np.concatenate(parts)


def fan(polygons: NDArray[np.int64]) -> NDArray[np.int64]:
    """Polygons ``(P, C)`` as triangles ``(P * (C - 2), 3)``; exact if the polygons are convex."""
    if polygons.shape[1] == 3:
        return polygons
    pivot = np.broadcast_to(polygons[:, :1], polygons[:, 2:].shape)
    return np.stack([pivot, polygons[:, 1:-1], polygons[:, 2:]], axis=2).reshape(-1, 3)


def one_line(error: Exception) -> str:
    """The message of a library's error, short and without line breaks."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else text[:197] + "..."
