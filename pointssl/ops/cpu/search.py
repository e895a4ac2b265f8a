"""Searches for few nearest points on CPUs: balls, interpolation, Chamfer distances.

Vectorised loops compute all squared distances and the minimum of every block; only blocks that may
contain one of the nearest points are searched. Squares are not negative, so their bit patterns, as
integers, have the same order; NaN comes last.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pointssl.ops.cpu.threads import in_parallel
from pointssl_datasets.base.compiling import compiled, inner

BLOCK = 32
BITS = {torch.float32: np.uint32, torch.float64: np.uint64}


def nearest(queries: Tensor, points: Tensor, k: int) -> Tensor:
    """Find the ``k`` nearest points, ``(B, Q, 3)`` and ``(B, N, 3)`` to ``(B, Q, k)`` int64,
    nearest first."""
    found, arrays = _prepare(queries, points, k)
    in_parallel(_nearest, len(found), *arrays, np.empty(0, BITS[points.dtype]))
    return found.view(*queries.shape[:2], k)


def ball(queries: Tensor, points: Tensor, radius: float, k: int, order: str) -> Tensor:
    """See :func:`pointssl.ops.neighbours.ball`; ``k`` is at most N."""
    found, arrays = _prepare(queries, points, k)
    kernel = _nearest_within if order == "nearest" else _lowest
    in_parallel(kernel, len(found), *arrays, _largest_square(radius, arrays[0].dtype))
    return found.view(*queries.shape[:2], k)


def _prepare(queries: Tensor, points: Tensor, k: int) -> tuple[Tensor, tuple[NDArray, ...]]:
    """Allocate the result ``(B * Q, k)``, and return it with the kernels' arguments."""
    clouds, count = queries.shape[:2]
    found = torch.empty(clouds * count, k, dtype=torch.int64)
    rows, columns = queries.detach().contiguous(), points.detach().mT.contiguous()
    return found, (rows.numpy(), columns.numpy(), found.numpy())


def _largest_square(radius: float, dtype: np.dtype) -> float:
    """Return the largest number whose square root is at most ``radius``, to compare squares."""
    reach = dtype.type(radius)
    if not 0 <= reach < np.inf:
        return float(reach) if reach > 0 else -1.0
    with np.errstate(over="ignore"):
        square = reach * reach
    while np.sqrt(square) > reach:
        square = np.nextafter(square, dtype.type(0))
    while np.sqrt(np.nextafter(square, dtype.type(np.inf))) <= reach:
        square = np.nextafter(square, dtype.type(np.inf))
    return float(square)


@compiled
def _nearest(
    start: int, stop: int, queries: NDArray, columns: NDArray, found: NDArray, bits: NDArray
) -> None:
    """Search for queries ``start`` to ``stop`` of ``(B, Q, 3)`` among columns ``(B, 3, N)``."""
    count, k = columns.shape[2], found.shape[1]
    squares, least = np.empty(count, columns.dtype), np.empty(-(-count // BLOCK), bits.dtype)
    best, places = np.empty(k, bits.dtype), squares.view(bits.dtype)
    for number in range(start, stop):
        cloud, row = number // queries.shape[1], number % queries.shape[1]
        names = found[number]
        _apart(queries[cloud, row], columns[cloud], 0, squares)
        filled = 0
        for block in range(len(least)):
            least[block] = _minimum(places[block * BLOCK : (block + 1) * BLOCK])
            filled = _insert(best, names, filled, least[block], 0)
        # The k nearest are in blocks whose minimum is among the k smallest minima.
        enough = best[k - 1] if filled == k else bits.dtype.type(-1)
        filled = 0
        for block in range(len(least)):
            if least[block] <= enough and (filled < k or least[block] < best[k - 1]):
                for i in range(block * BLOCK, min((block + 1) * BLOCK, count)):
                    filled = _insert(best, names, filled, places[i], i)


@compiled
def _nearest_within(
    start: int, stop: int, queries: NDArray, columns: NDArray, found: NDArray, limit: float
) -> None:
    """Find the nearest within ``limit``; the remaining places repeat the nearest."""
    count, k = columns.shape[2], found.shape[1]
    squares, within = np.empty(count, columns.dtype), np.empty(count, np.int64)
    best = np.empty(k, columns.dtype)
    for number in range(start, stop):
        cloud, row = number // queries.shape[1], number % queries.shape[1]
        names = found[number]
        _apart(queries[cloud, row], columns[cloud], 0, squares)
        inside = np.uint64(0)
        for i in range(count):  # without a branch, which would be unpredictable
            within[inside] = i
            inside += np.uint64(squares[i] <= limit)
        filled = 0
        for i in within[:inside]:
            filled = _insert(best, names, filled, squares[i], i)
        if filled == 0:
            names[0] = np.argmin(np.sqrt(squares))
            filled = 1
        names[filled:] = names[0]


@compiled
def _lowest(
    start: int, stop: int, queries: NDArray, columns: NDArray, found: NDArray, limit: float
) -> None:
    """Find the lowest indices within ``limit``; the remaining places repeat the first."""
    count, k = columns.shape[2], found.shape[1]
    squares = np.empty(count, columns.dtype)
    for number in range(start, stop):
        cloud, row = number // queries.shape[1], number % queries.shape[1]
        query, names = queries[cloud, row], found[number]
        filled = 0
        for left in range(0, count, BLOCK):
            part = squares[left : left + BLOCK]
            _apart(query, columns[cloud], left, part)
            if _any_within(part, limit):
                for i in range(len(part)):
                    if part[i] <= limit and filled < k:
                        names[filled] = left + i
                        filled += 1
                if filled == k:
                    break
        if filled == 0:
            names[0] = np.argmin(np.sqrt(squares))
            filled = 1
        names[filled:] = names[0]


@inner
def _apart(query: NDArray, columns: NDArray, left: int, out: NDArray) -> None:
    """Compute squared distances to the ``len(out)`` points from index ``left``."""
    x, y, z = query[0], query[1], query[2]
    xs = columns[0, left : left + len(out)]
    ys = columns[1, left : left + len(out)]
    zs = columns[2, left : left + len(out)]
    for i in range(len(out)):
        a, b, c = xs[i] - x, ys[i] - y, zs[i] - z
        out[i] = a * a + b * b + c * c


@inner
def _minimum(values: NDArray) -> int:
    least = values[0]
    for i in range(len(values)):
        least = values[i] if values[i] < least else least
    return least


@inner
def _any_within(values: NDArray, limit: float) -> bool:
    total = 0
    for i in range(len(values)):
        total += values[i] <= limit
    return total > 0


@inner
def _insert(best: NDArray, names: NDArray, filled: int, value: int, name: int) -> int:
    """Insert a value into the ``filled`` smallest, after its equals; return the new count."""
    if filled == len(best):
        if value >= best[filled - 1]:
            return filled
        filled -= 1
    j = filled
    while j > 0 and best[j - 1] > value:
        best[j], names[j] = best[j - 1], names[j - 1]
        j -= 1
    best[j], names[j] = value, name
    return filled + 1
