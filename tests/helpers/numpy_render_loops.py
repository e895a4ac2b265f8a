"""The renderer's loops in NumPy: slow and readable, an oracle for the compiled ones.

Arguments and results are those of :mod:`pointssl_datasets.rendering.loops`.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

BAND = 48  # rows of an image drawn at once: bounds the memory, and fits the cache
CHUNK = 1 << 18  # candidate pixels of triangles that are looked at together


def splat(ellipses: Array, values: Array, sheet: float, size: int) -> tuple[Array, Array, Array]:
    bands = [
        _band(ellipses, values, sheet, size, top, min(top + BAND, size))
        for top in range(0, size, BAND)
    ]
    cover, inverse, blended = (np.concatenate(parts, axis=1) for parts in zip(*bands, strict=True))
    return cover[0], inverse[0], blended


def _band(
    ellipses: Array, values: Array, sheet: float, size: int, first: int, stop: int
) -> tuple[Array, Array, Array]:
    """Rows ``first`` to ``stop``: ``(1 or C, rows, size)`` each."""
    column, row, half_width, half_height, a, b, c, near, across, down = ellipses.T
    left = np.clip(np.ceil(column - half_width), 0, size).astype(np.int64)
    right = np.clip(np.floor(column + half_width), -1, size - 1).astype(np.int64)
    top = np.clip(np.ceil(row - half_height), first, stop).astype(np.int64)
    bottom = np.clip(np.floor(row + half_height), first - 1, stop - 1).astype(np.int64)
    area, x, y = boxes(left, right, top, bottom)
    item = np.repeat(np.arange(len(area)), area)
    u, v = x - column[item], y - row[item]
    q = u * (a[item] * u + b[item] * v) + c[item] * v * v
    inside = np.flatnonzero(q < 1)
    item, u, v, q = item[inside], u[inside], v[inside], q[inside]
    pixel = (y[inside] - first) * size + x[inside]
    pixels = (stop - first) * size
    weight = (1 - q) * (1 - q)
    cover: Array = np.asarray(np.bincount(pixel, weight, minlength=pixels), dtype=np.float64)

    # Bent away from the viewer, so that the middle of one ellipse wins over the rim of another.
    depth = (near[item] + across[item] * u + down[item] * v) * (1 - 0.5 * sheet * q)
    front = np.zeros(pixels)
    np.maximum.at(front, pixel, depth)
    seen = np.flatnonzero(depth >= front[pixel] * (1 - sheet))
    item, pixel, depth, weight = item[seen], pixel[seen], depth[seen], weight[seen]
    total = np.bincount(pixel, weight, minlength=pixels)
    total[total == 0] = 1.0

    def mean(what: Array) -> Array:
        return np.bincount(pixel, weight * what, minlength=pixels) / total

    def rows(*channels: Array) -> Array:
        return np.stack(channels).reshape(-1, stop - first, size)

    blended = [mean(channel[item]) for channel in values.T]
    return rows(cover), rows(mean(depth)), rows(*blended)


def rasterise(
    x: Array, y: Array, inverse: Array, faces: NDArray[np.int64], size: int
) -> tuple[NDArray[np.int64], Array]:
    x, y, inverse = x[faces], y[faces], inverse[faces]
    # Barycentric weight k is 1 at corner k and 0 on the opposite edge: dx_k u + dy_k v + offset.
    twice = (x[:, 1] - x[:, 0]) * (y[:, 2] - y[:, 0]) - (x[:, 2] - x[:, 0]) * (y[:, 1] - y[:, 0])
    number = np.flatnonzero(np.abs(twice) >= 1e-9)  # edge-on it covers no pixel's centre
    x, y, inverse, twice = x[number], y[number], inverse[number], twice[number]
    dx1, dy1 = (y[:, 2] - y[:, 0]) / twice, (x[:, 0] - x[:, 2]) / twice
    dx2, dy2 = (y[:, 0] - y[:, 1]) / twice, (x[:, 1] - x[:, 0]) / twice
    step1, step2 = inverse[:, 1] - inverse[:, 0], inverse[:, 2] - inverse[:, 0]

    left = np.clip(np.ceil(x.min(axis=1)), 0, size).astype(np.int64)
    right = np.clip(np.floor(x.max(axis=1)), -1, size - 1).astype(np.int64)
    top = np.clip(np.ceil(y.min(axis=1)), 0, size).astype(np.int64)
    bottom = np.clip(np.floor(y.max(axis=1)), -1, size - 1).astype(np.int64)

    face, nearest = np.full(size * size, -1), np.zeros(size * size)
    work = np.cumsum(np.maximum(right - left + 1, 0) * np.maximum(bottom - top + 1, 0))
    cuts = np.searchsorted(work, np.arange(CHUNK, work[-1] if len(work) else 0, CHUNK))
    for part in np.split(np.arange(len(number)), cuts):
        area, column, row = boxes(left[part], right[part], top[part], bottom[part])
        item = np.repeat(part, area)
        u, v = column - x[item, 0], row - y[item, 0]
        w1 = dx1[item] * u + dy1[item] * v
        w2 = dx2[item] * u + dy2[item] * v
        inside = np.flatnonzero((w1 >= -1e-9) & (w2 >= -1e-9) & (w1 + w2 <= 1 + 1e-9))
        item, w1, w2 = item[inside], w1[inside], w2[inside]
        pixel = row[inside] * size + column[inside]
        near = inverse[item, 0] + step1[item] * w1 + step2[item] * w2
        np.maximum.at(nearest, pixel, near)
        won = near == nearest[pixel]
        face[pixel[won]] = number[item[won]]
    return face.reshape(size, size), nearest.reshape(size, size)


def moments(points: Array, near: NDArray[np.int64]) -> tuple[Array, Array]:
    group = points.T[:, near]  # (3, N, K): sums over the last axis are the quick ones
    centre = group.mean(axis=2)
    offset = group - centre[:, :, None]
    covariance = np.empty((len(near), 3, 3))
    for i, j in ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)):
        covariance[:, i, j] = np.einsum("nk,nk->n", offset[i], offset[j]) / near.shape[1]
        covariance[:, j, i] = covariance[:, i, j]
    return np.ascontiguousarray(centre.T), covariance


def smoothed(normals: Array, near: NDArray[np.int64]) -> Array:
    x, y, z = normals.T
    gx, gy, gz = normals.T[:, near]  # (N, K) each
    cosine = gx * x[:, None] + gy * y[:, None] + gz * z[:, None]
    total = np.stack([np.einsum("nk,nk->n", g, cosine) for g in (gx, gy, gz)], axis=1)
    return np.asarray(total / np.linalg.norm(total, axis=1, keepdims=True))


def boxes(
    left: NDArray[Any], right: NDArray[Any], top: NDArray[Any], bottom: NDArray[Any]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Every pixel of M boxes, whose bounds are integers and inclusive.

    Returns ``area (M,)``, ``column (T,)``, ``row (T,)``: the pixels of the first box, then those of
    the second... ``np.repeat(values, area)`` brings a value of each box to its pixels.
    """
    width = np.maximum(right - left + 1, 0)
    lines = np.where(width > 0, np.maximum(bottom - top + 1, 0), 0)
    owner = np.repeat(np.arange(len(lines)), lines)  # first every row of every box, then its pixels
    line = np.arange(len(owner)) - np.repeat(np.cumsum(lines) - lines, lines) + top[owner]
    wide = width[owner]
    start = left[owner] - (np.cumsum(wide) - wide)
    column = np.repeat(start, wide) + np.arange(int(wide.sum()))
    return width * lines, column, np.repeat(line, wide)
