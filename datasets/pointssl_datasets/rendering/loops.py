"""The renderer's hot loops, compiled by numba.

Pixel centres are at integer coordinates here. Depth is kept as its inverse, which is linear over
the image for every plane in perspective. NumPy takes about ten times as long. The first call on a
machine compiles for a few seconds; the machine code is kept beside this file, or else in the user's
cache folder.
"""

import math

import numpy as np
from numpy.typing import NDArray

from pointssl_datasets.base.compiling import compiled

Array = NDArray[np.float64]


def splat(ellipses: Array, values: Array, sheet: float, size: int) -> tuple[Array, Array, Array]:
    """Blends ellipses where they are the nearest surface.

    Args:
        ellipses: ``(M, 10)``: column, row, half width and half height of the box around it; a, b, c
            with ``a u^2 + b u v + c v^2 < 1`` inside, where u, v is the offset from the centre in
            pixels; near, across, down with 1 / depth = ``near + across u + down v``.
        values: ``(M, C)`` what to blend, C channels.
        sheet: ellipses within this share of the nearest depth belong to the same surface. Towards
            its rim an ellipse counts as farther away by up to half of it, so that the middle of one
            ellipse wins over the rim of another.
        size: side of the image.

    Returns:
        ``(size, size)`` sum of the weights of all ellipses; ``(size, size)`` 1 / depth, 0 where
        there is nothing; ``(C, size, size)`` weighted means.
    """
    cover, total, inverse, blended = _splat(ellipses, values, sheet, size)
    total[total == 0] = 1.0
    return cover, inverse / total, blended / total


@compiled
def _splat(
    ellipses: Array, values: Array, sheet: float, size: int
) -> tuple[Array, Array, Array, Array]:
    """The sums that :func:`splat` divides by the second of them."""
    channels = values.shape[1]
    cover, front = np.zeros((size, size)), np.zeros((size, size))
    total, inverse = np.zeros((size, size)), np.zeros((size, size))
    blended = np.zeros((channels, size, size))
    weight = np.empty(size)
    for second in (False, True):  # first how near the front is, then what belongs to it
        for i in range(len(ellipses)):
            column, row, half_width, half_height, a, b, c, near, across, down = ellipses[i]
            left = max(math.ceil(column - half_width), 0)
            right = min(math.floor(column + half_width), size - 1)
            top = max(math.ceil(row - half_height), 0)
            bottom = min(math.floor(row + half_height), size - 1)
            for y in range(top, bottom + 1):
                v = y - row
                # The ellipse cuts this row between the roots of q - 1; the rest can be left out.
                middle = 0.5 * b * v / a
                root = math.sqrt(max(middle * middle - (c * v * v - 1) / a, 0.0))
                start = max(left, math.floor(column - middle - root))
                stop = min(right, math.ceil(column - middle + root)) + 1
                # No branches in here: so the compiler does several pixels at once.
                if not second:
                    for x in range(start, stop):
                        u = x - column
                        q = u * (a * u + b * v) + c * v * v
                        inside = max(1 - q, 0.0)
                        depth = (near + across * u + down * v) * (1 - 0.5 * sheet * q)
                        cover[y, x] += inside * inside
                        front[y, x] = max(front[y, x], depth if inside > 0 else 0.0)
                    continue
                for x in range(start, stop):
                    u = x - column
                    q = u * (a * u + b * v) + c * v * v
                    inside = max(1 - q, 0.0)
                    depth = (near + across * u + down * v) * (1 - 0.5 * sheet * q)
                    share = inside * inside if depth >= front[y, x] * (1 - sheet) else 0.0
                    total[y, x] += share
                    inverse[y, x] += share * depth
                    weight[x] = share
                for k in range(channels):
                    value = values[i, k]
                    for x in range(start, stop):
                        blended[k, y, x] += weight[x] * value
    return cover, total, inverse, blended


@compiled
def rasterise(
    x: Array, y: Array, inverse: Array, faces: NDArray[np.int64], size: int
) -> tuple[NDArray[np.int64], Array]:
    """The nearest triangle at each pixel's centre.

    Args:
        x, y, inverse: ``(V,)`` column, row and 1 / depth of the vertices, all in front of the eye.
        faces: ``(F, 3)`` indices of vertices.
        size: side of the image.

    Returns:
        ``(size, size)`` index of the face, -1 where there is none; ``(size, size)`` 1 / depth, 0
        there. Of two faces at the same depth the one listed last is seen.
    """
    face, nearest = np.full((size, size), -1), np.zeros((size, size))
    for f in range(len(faces)):
        i, j, k = faces[f]
        x0, y0, x1, y1, x2, y2 = x[i], y[i], x[j], y[j], x[k], y[k]
        left = max(math.ceil(min(x0, x1, x2)), 0)
        right = min(math.floor(max(x0, x1, x2)), size - 1)
        top = max(math.ceil(min(y0, y1, y2)), 0)
        bottom = min(math.floor(max(y0, y1, y2)), size - 1)
        twice = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        if left > right or top > bottom or abs(twice) < 1e-9:
            continue
        dx1, dy1 = (y2 - y0) / twice, (x0 - x2) / twice
        dx2, dy2 = (y0 - y1) / twice, (x1 - x0) / twice
        near, step1, step2 = inverse[i], inverse[j] - inverse[i], inverse[k] - inverse[i]
        for row in range(top, bottom + 1):
            v = row - y0
            for column in range(left, right + 1):
                u = column - x0
                w1 = dx1 * u + dy1 * v
                w2 = dx2 * u + dy2 * v
                if w1 >= -1e-9 and w2 >= -1e-9 and w1 + w2 <= 1 + 1e-9:
                    depth = near + step1 * w1 + step2 * w2
                    if depth >= nearest[row, column]:
                        nearest[row, column] = depth
                        face[row, column] = f
    return face, nearest


@compiled
def _moments(points: Array, near: NDArray[np.int64]) -> tuple[Array, Array]:
    count, neighbours = near.shape
    centre, covariance = np.zeros((count, 3)), np.empty((count, 3, 3))
    for n in range(count):
        for k in range(neighbours):
            for i in range(3):
                centre[n, i] += points[near[n, k], i]
        for i in range(3):
            centre[n, i] /= neighbours
        xx = xy = xz = yy = yz = zz = 0.0
        for k in range(neighbours):
            x = points[near[n, k], 0] - centre[n, 0]
            y = points[near[n, k], 1] - centre[n, 1]
            z = points[near[n, k], 2] - centre[n, 2]
            xx, xy, xz = xx + x * x, xy + x * y, xz + x * z
            yy, yz, zz = yy + y * y, yz + y * z, zz + z * z
        covariance[n, 0, 0], covariance[n, 1, 1], covariance[n, 2, 2] = xx, yy, zz
        covariance[n, 0, 1] = covariance[n, 1, 0] = xy
        covariance[n, 0, 2] = covariance[n, 2, 0] = xz
        covariance[n, 1, 2] = covariance[n, 2, 1] = yz
    return centre, covariance


def moments(points: Array, near: NDArray[np.int64]) -> tuple[Array, Array]:
    """Means ``(N, 3)`` and covariances ``(N, 3, 3)`` of the neighbours of each point.

    Args:
        points: ``(N, 3)``.
        near: ``(N, K)`` indices of the neighbours.
    """
    centre, covariance = _moments(points, near)
    return centre, covariance / near.shape[1]


@compiled
def _sums(normals: Array, near: NDArray[np.int64]) -> Array:
    total = np.zeros_like(normals)
    for n in range(len(near)):
        for k in near[n]:
            cosine = 0.0
            for i in range(3):
                cosine += normals[n, i] * normals[k, i]
            for i in range(3):
                total[n, i] += cosine * normals[k, i]
    return total


def smoothed(normals: Array, near: NDArray[np.int64]) -> Array:
    """Mean unit normal ``(N, 3)`` over the neighbours, weighted by the cosine to the point's own.

    Such weights turn every neighbour to the same side, and leave out what lies round an edge.

    Args:
        normals: ``(N, 3)`` unit length.
        near: ``(N, K)`` indices of the neighbours.
    """
    total = _sums(normals, near)
    return np.asarray(total / np.sqrt((total * total).sum(axis=1, keepdims=True)))
