"""Selection loops of :mod:`pointssl.ops.cpu.knn` and :mod:`pointssl.ops.cpu.boxes`.

They share a file because numba's cache tracks changes only in the file of the compiled function,
not in the files of functions that it calls.
"""

import numpy as np
from numpy.typing import NDArray

from pointssl_datasets.base.compiling import compiled, inner

GROUPS = 64  # minimum number, and at least 2k: with fewer, more of the nearest share a group
FOLDS = 4  # maximum number: sixteen columns per group
SPARE = 4  # columns in excess of k that the first bisection may keep
BLOCK = 64
WINDOW = 32  # minimum number of points before and after in the order that give a first bound


@compiled
def largest(start: int, stop: int, products: NDArray, bias: NDArray, found: NDArray) -> None:
    """Write the columns of the k largest of each row of ``products + bias (Q, N)`` to ``found (Q,
    k)``."""
    count = len(bias)
    space = np.empty((3, count), bias.dtype)
    names = np.empty((2, count), np.int64)
    closeness = space[2]
    for row in range(start, stop):
        product = products[row]
        for i in range(count):
            closeness[i] = product[i] + bias[i]
        _select(closeness, found[row], space[0], space[1], names[0], names[1])


@compiled
def nearest_of_all(
    start: int, stop: int, queries: NDArray, columns: NDArray, found: NDArray
) -> None:
    """Search for queries ``start`` to ``stop`` of all ``(B, Q, C)`` among columns ``(B, C, N)``."""
    _, channels, count = columns.shape
    per_cloud = queries.shape[1]
    closeness = np.empty(count, columns.dtype)
    space = np.empty((2, count), columns.dtype)
    names = np.empty((2, count), np.int64)
    for number in range(start, stop):
        cloud, row = number // per_cloud, number % per_cloud
        if channels == 3:  # the common case, in one pass
            x, y, z = queries[cloud, row]
            xs, ys, zs = columns[cloud, 0], columns[cloud, 1], columns[cloud, 2]
            for i in range(count):
                a, b, c = xs[i] - x, ys[i] - y, zs[i] - z
                closeness[i] = -(a * a + b * b + c * c)
        else:
            closeness[:] = 0
            for channel in range(channels):
                value, axis = queries[cloud, row, channel], columns[cloud, channel]
                for i in range(count):
                    closeness[i] -= (axis[i] - value) * (axis[i] - value)
        _select(closeness, found[cloud, row], space[0], space[1], names[0], names[1])


@inner
def _select(
    closeness: NDArray, found: NDArray, best: NDArray, values: NDArray, names: NDArray,
    groups: NDArray,
) -> None:  # fmt: skip
    """Write the columns of the ``len(found)`` largest of ``closeness`` to ``found``; the other
    arrays are scratch space."""
    count, k = len(closeness), len(found)
    folds = 0
    while folds < FOLDS and (count >> (folds + 1)) >= max(GROUPS, 2 * k):
        folds += 1
    # Unsigned counters, so that numba need not handle negative indices; the loops that fill the
    # arrays have no branches, which would be unpredictable.
    kept, near, taken = np.uint64(0), np.uint64(0), np.uint64(0)
    if folds == 0:
        for i in range(count):
            names[i] = i
        near = np.uint64(count)
    else:
        width = -(-count // (1 << folds))
        half = width << (folds - 1)
        _fold(closeness[:half], closeness[half:], best)
        while half > width:
            half //= 2
            _fold(best[:half], best[half : 2 * half], best)
        bound, _ = _bisect(best[:width], k, SPARE)
        for g in range(width):
            groups[kept] = g
            kept += np.uint64(best[g] >= bound)
        for group in groups[:kept]:
            for i in range(group, count, width):
                names[near] = i
                near += np.uint64(closeness[i] >= bound)
    for a in range(near):
        values[a] = closeness[names[a]]
    reached, missed = _bisect(values[:near], k, 0)
    for a in range(near):
        names[taken] = names[a]
        taken += np.uint64(values[a] >= reached)
    if taken > k:  # ties: take the strictly nearer columns first
        place = 0
        for nearer in (True, False):
            for name in names[:taken]:
                if place < k and (closeness[name] >= missed) == nearer:
                    found[place] = name
                    place += 1
        return
    for a in range(taken):
        found[a] = names[a]
    for i in range(taken, k):  # only if a row contains NaN
        found[i] = i


@inner
def _fold(left: NDArray, right: NDArray, out: NDArray) -> None:
    """Write the larger of each pair; ``right`` may be shorter, and ``out`` may be ``left``."""
    for g in range(len(right)):
        a, b = left[g], right[g]
        out[g] = a if a > b else b
    for g in range(len(right), len(left)):
        out[g] = left[g]


@inner
def _bisect(values: NDArray, k: int, spare: int) -> tuple:
    """Return two bounds: ``k`` to ``k + spare`` values (more with ties) are at least the first,
    fewer than ``k`` are at least the second."""
    low = values[0] if len(values) > 0 else values.dtype.type(-np.inf)
    for value in values[:k]:
        low = value if value < low else low
    high = _largest_of(values, low)
    if _reached(values, high) >= k:
        return high, values.dtype.type(np.inf)
    half = values.dtype.type(0.5)
    while True:
        middle = low + half * (high - low)
        if not low < middle < high:
            return low, high
        reached = _reached(values, middle)
        if reached < k:
            high = middle
        else:
            low = middle
            if reached <= k + spare:
                return low, high


@inner
def _largest_of(values: NDArray, low: float) -> float:
    """Return the larger of ``low`` and the maximum, in four independent chains of comparisons."""
    a, b, c, d = low, low, low, low
    whole = len(values) // 4 * 4
    for i in range(0, whole, 4):
        a = values[i] if values[i] > a else a
        b = values[i + 1] if values[i + 1] > b else b
        c = values[i + 2] if values[i + 2] > c else c
        d = values[i + 3] if values[i + 3] > d else d
    for value in values[whole:]:
        a = value if value > a else a
    return max(max(a, b), max(c, d))


@inner
def _reached(values: NDArray, bound: float) -> int:
    total = 0
    for value in values:
        total += value >= bound
    return total


@inner
def box_distances(x: float, y: float, z: float, corners: NDArray, out: NDArray) -> None:
    """Compute the squared distances of a point to the boxes with ``corners (2, 3, blocks)``."""
    zero = out.dtype.type(0)
    x0, y0, z0 = corners[0, 0], corners[0, 1], corners[0, 2]
    x1, y1, z1 = corners[1, 0], corners[1, 1], corners[1, 2]
    for i in range(len(out)):
        a, a1, b, b1, c, c1 = x0[i] - x, x - x1[i], y0[i] - y, y - y1[i], z0[i] - z, z - z1[i]
        a, b, c = a if a > a1 else a1, b if b > b1 else b1, c if c > c1 else c1
        a, b, c = a if a > zero else zero, b if b > zero else zero, c if c > zero else zero
        out[i] = a * a + b * b + c * c


@compiled
def nearest_in_boxes(
    start: int, stop: int, order: NDArray, columns: NDArray, corners: NDArray, found: NDArray
) -> None:
    """Search for points ``start`` to ``stop`` of all clouds, in the order of the blocks."""
    count, k, blocks = columns.shape[2], found.shape[2], corners.shape[3]
    window = min(count, max(2 * WINDOW, 2 * k))
    closeness, apart = np.empty(count, columns.dtype), np.empty(blocks, columns.dtype)
    space = np.empty((2, count), columns.dtype)
    kept = np.empty((3, count), np.int64)
    part = np.empty(BLOCK, columns.dtype)
    for number in range(start, stop):
        cloud, place = number // count, number % count
        xs, ys, zs = columns[cloud, 0], columns[cloud, 1], columns[cloud, 2]
        x, y, z = xs[place], ys[place], zs[place]
        left = min(max(place - window // 2, 0), count - window)
        _close(x, y, z, xs[left:], ys[left:], zs[left:], closeness[:window])
        bound, _ = _bisect(closeness[:window], k, SPARE)
        box_distances(x, y, z, corners[cloud], apart)
        near = np.uint64(0)
        for block in range(blocks):
            if -apart[block] >= bound:
                left = block * BLOCK
                size = min(BLOCK, count - left)
                _close(x, y, z, xs[left:], ys[left:], zs[left:], part[:size])
                for i in range(size):
                    closeness[near] = part[i]
                    kept[0, near] = left + i
                    near += np.uint64(part[i] >= bound)
        row = found[cloud, order[cloud, place]]
        _select(closeness[:near], row, space[0], space[1], kept[1], kept[2])
        for j in range(k):
            row[j] = order[cloud, kept[0, row[j]]]


@inner
def _close(
    x: float, y: float, z: float, xs: NDArray, ys: NDArray, zs: NDArray, out: NDArray
) -> None:
    for i in range(len(out)):
        a, b, c = xs[i] - x, ys[i] - y, zs[i] - z
        out[i] = -(a * a + b * b + c * c)
