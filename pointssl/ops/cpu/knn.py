"""The k nearest of many points, without a matrix of all distances and without sorting.

A row of ``closeness``, the larger the nearer, is folded until some GROUPS of columns are left,
each with its maximum. A number that about k of the maxima reach is found by bisection; at least k
columns reach it, and not many more. Among these few the k largest are found by bisection again.
Folding and counting are what a processor does sixteen numbers at a time.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pointssl.ops.cpu.threads import in_parallel
from pointssl_datasets.compiling import compiled, inner

GROUPS = 64  # at least, and at least 2k: in fewer, more of the nearest would share one
FOLDS = 4  # at most: sixteen columns in a group
SPARE = 4  # columns more than k that the first bisection may leave
DIRECT = 8  # up to as many channels distances are summed up here, beyond by a matrix product
IN_BOXES = 2048  # points of space: in smaller clouds as much is gained by comparing all
TILE = 1 << 20  # numbers of a tile of closeness


def knn(points: Tensor, k: int) -> Tensor:
    """``(B, N, C)`` without their mean, to ``(B, N, k)`` int64, in no order."""
    if points.shape[2] == 3 and points.shape[1] >= IN_BOXES:
        from pointssl.ops.cpu.boxes import box_knn

        return box_knn(points, k)
    return knn_among(points, points, k)


def knn_among(queries: Tensor, points: Tensor, k: int) -> Tensor:
    """``(B, Q, C)`` and ``(B, N, C)`` to ``(B, Q, k)`` int64, in no order."""
    clouds, count, channels = queries.shape
    found = torch.empty(clouds, count, k, dtype=torch.int64)
    if channels <= DIRECT:
        rows, columns = queries.contiguous(), points.mT.contiguous()
        in_parallel(_nearest, clouds * count, rows.numpy(), columns.numpy(), found.numpy())
        return found
    step = max(1, TILE // points.shape[1])
    tile = points.new_empty(step, points.shape[1])
    for cloud, among in enumerate(points):
        weight, bias = (2 * among).t(), -among.square().sum(-1)  # |x_i|^2 is the same in a row
        for rows, part in zip(queries[cloud].split(step), found[cloud].split(step), strict=True):
            products = torch.mm(rows, weight, out=tile[: len(rows)])
            in_parallel(_largest, len(part), products.numpy(), bias.numpy(), part.numpy())
    return found


@compiled
def _largest(start: int, stop: int, products: NDArray, bias: NDArray, found: NDArray) -> None:
    """Columns of the largest of each row of ``products + bias``, ``(Q, N)``, into ``(Q, k)``."""
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
def _nearest(start: int, stop: int, queries: NDArray, columns: NDArray, found: NDArray) -> None:
    """Queries ``start`` to ``stop`` of all ``(B, Q, C)`` among columns ``(B, C, N)``."""
    _, channels, count = columns.shape
    per_cloud = queries.shape[1]
    closeness = np.empty(count, columns.dtype)
    space = np.empty((2, count), columns.dtype)
    names = np.empty((2, count), np.int64)
    for number in range(start, stop):
        cloud, row = number // per_cloud, number % per_cloud
        if channels == 3:  # the usual case in one pass
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
    """Columns of the ``len(found)`` largest of ``closeness``; the other arrays are scratch."""
    count, k = len(closeness), len(found)
    folds = 0
    while folds < FOLDS and (count >> (folds + 1)) >= max(GROUPS, 2 * k):
        folds += 1
    # Unsigned, so that no negative index need be thought of; and no branches in the loops that
    # write to them: which of the columns are near can't be foreseen.
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
    if taken > k:  # some are equally near: the nearer ones first
        place = 0
        for nearer in (True, False):
            for name in names[:taken]:
                if place < k and (closeness[name] >= missed) == nearer:
                    found[place] = name
                    place += 1
        return
    for a in range(taken):
        found[a] = names[a]
    for i in range(taken, k):  # only where a row holds NaN
        found[i] = i


@inner
def _fold(left: NDArray, right: NDArray, out: NDArray) -> None:
    """The larger of each pair; ``right`` may be shorter, and ``out`` may be ``left``."""
    for g in range(len(right)):
        a, b = left[g], right[g]
        out[g] = a if a > b else b
    for g in range(len(right), len(left)):
        out[g] = left[g]


@inner
def _bisect(values: NDArray, k: int, spare: int) -> tuple:
    """Two numbers: the first is reached by ``k`` to ``k + spare`` of ``values``, or by more if some
    are equal; the second by fewer than ``k``."""
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
    """The largest, or ``low``. Four at a time: each waits for the one before it."""
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
