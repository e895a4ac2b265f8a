"""The few nearest of many points: balls, interpolation, Chamfer distances.

Squared distances are worked out many at a time, then the least of every block of them. Only blocks
that can hold one of the nearest are looked into. Squares are not negative, so that their bits,
taken as whole numbers, are in the same order; what is not a number comes last.
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
    """``(B, Q, 3)`` and ``(B, N, 3)`` to ``(B, Q, k)`` int64, nearest first."""
    found, arrays = _prepared(queries, points, k)
    in_parallel(_nearest, len(found), *arrays, np.empty(0, BITS[points.dtype]))
    return found.view(*queries.shape[:2], k)


def ball(queries: Tensor, points: Tensor, radius: float, k: int, order: str) -> Tensor:
    """As :func:`pointssl.ops.neighbours.ball`; ``k`` at most N."""
    found, arrays = _prepared(queries, points, k)
    kernel = _nearest_within if order == "nearest" else _lowest
    in_parallel(kernel, len(found), *arrays, _largest_square(radius, arrays[0].dtype))
    return found.view(*queries.shape[:2], k)


def _prepared(queries: Tensor, points: Tensor, k: int) -> tuple[Tensor, tuple[NDArray, ...]]:
    """Rows ``(B * Q, k)`` to be filled, and what the kernels take."""
    clouds, count = queries.shape[:2]
    found = torch.empty(clouds * count, k, dtype=torch.int64)
    rows, columns = queries.detach().contiguous(), points.detach().mT.contiguous()
    return found, (rows.numpy(), columns.numpy(), found.numpy())


def _largest_square(radius: float, dtype: np.dtype) -> float:
    """The largest number whose root is at most ``radius``: roots themselves need not be drawn."""
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
    """Queries ``start`` to ``stop`` of ``(B, Q, 3)`` among columns ``(B, 3, N)``."""
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
        # The k nearest lie in blocks whose least is among the k least.
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
    """The nearest within ``limit``; the very nearest in the places that are left."""
    count, k = columns.shape[2], found.shape[1]
    squares, within = np.empty(count, columns.dtype), np.empty(count, np.int64)
    best = np.empty(k, columns.dtype)
    for number in range(start, stop):
        cloud, row = number // queries.shape[1], number % queries.shape[1]
        names = found[number]
        _apart(queries[cloud, row], columns[cloud], 0, squares)
        inside = np.uint64(0)
        for i in range(count):  # without a branch: which ones can't be foreseen
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
    """The same, but of those within ``limit`` the first that come."""
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
    """Squared distances to the ``len(out)`` points from ``left`` on."""
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
    """Puts a value among the ``filled`` least, behind its equals; how many there are then."""
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
