"""Points of space sorted into blocks of neighbours, each in a box, so that whole blocks that are
too far away are passed over.

Nothing is approximate. The distance to a box is worked out by the same subtractions, squares and
sums as that to a point in it, and rounding keeps their order: it is at most the point's, to the
last bit.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pointssl.ops.cpu.knn import SPARE, _bisect, _select, knn_among
from pointssl.ops.cpu.threads import in_parallel
from pointssl_datasets.compiling import compiled, inner

BLOCK = 64
WINDOW = 32  # points before and behind in the order, at least, that give a first bound


def box_knn(points: Tensor, k: int) -> Tensor:
    """``(B, N, 3)`` to the ``k`` nearest of each point, ``(B, N, k)`` int64, in no order."""
    if not points.isfinite().all():  # there are no boxes around those
        return knn_among(points, points, k)
    clouds, count = points.shape[:2]
    found = torch.empty(clouds, count, k, dtype=torch.int64)
    blocks = sorted_into_boxes(points)
    in_parallel(_nearest, clouds * count, *blocks, found.numpy())
    return found


def sorted_into_boxes(points: Tensor) -> tuple[NDArray, NDArray, NDArray]:
    """Of ``(B, N, 3)`` the order ``(B, N)``, columns ``(B, 3, N)`` in that order, and the corners
    of their blocks' boxes, ``(B, 2, 3, blocks)``."""
    columns = points.detach().mT.contiguous().numpy()
    clouds, _, count = columns.shape
    order = np.empty((clouds, count), np.int64)
    corners = np.empty((clouds, 2, 3, -(-count // BLOCK)), columns.dtype)
    placed = np.empty_like(columns)
    in_parallel(_sort, clouds, columns, order, placed, corners)
    return order, placed, corners


@compiled
def _sort(
    start: int, stop: int, columns: NDArray, order: NDArray, placed: NDArray, corners: NDArray
) -> None:
    """Clouds ``start`` to ``stop``, by the cell of a grid that each point is in; cells that follow
    each other are close (Morton 1966)."""
    count = columns.shape[2]
    bits = 4 if count <= 4096 else 5
    cells = np.empty(count, np.int64)
    for cloud in range(start, stop):
        size = columns.dtype.type(0)
        for axis in range(3):
            size = max(size, columns[cloud, axis].max() - columns[cloud, axis].min())
        scale = (1 << bits) / size if size > 0 else 0.0
        cells[:] = 0
        for axis in range(3):
            line = columns[cloud, axis]
            low = line.min()
            for i in range(count):
                step = max(0, min(int((line[i] - low) * scale), (1 << bits) - 1))
                for bit in range(bits):
                    cells[i] |= (step >> bit & 1) << (3 * bit + axis)
        begins = np.zeros((1 << 3 * bits) + 1, np.int64)
        for cell in cells:
            begins[cell + 1] += 1
        for i in range(1, len(begins)):
            begins[i] += begins[i - 1]
        for i in range(count):
            place = begins[cells[i]]
            begins[cells[i]] += 1
            order[cloud, place] = i
            for axis in range(3):
                placed[cloud, axis, place] = columns[cloud, axis, i]
        for axis in range(3):
            for block in range(corners.shape[3]):
                part = placed[cloud, axis, block * BLOCK : (block + 1) * BLOCK]
                corners[cloud, 0, axis, block] = part.min()
                corners[cloud, 1, axis, block] = part.max()


@inner
def box_distances(x: float, y: float, z: float, corners: NDArray, out: NDArray) -> None:
    """Squared distances of a point to the boxes with ``corners (2, 3, blocks)``."""
    zero = out.dtype.type(0)
    x0, y0, z0 = corners[0, 0], corners[0, 1], corners[0, 2]
    x1, y1, z1 = corners[1, 0], corners[1, 1], corners[1, 2]
    for i in range(len(out)):
        a, a1, b, b1, c, c1 = x0[i] - x, x - x1[i], y0[i] - y, y - y1[i], z0[i] - z, z - z1[i]
        a, b, c = a if a > a1 else a1, b if b > b1 else b1, c if c > c1 else c1
        a, b, c = a if a > zero else zero, b if b > zero else zero, c if c > zero else zero
        out[i] = a * a + b * b + c * c


@compiled
def _nearest(
    start: int, stop: int, order: NDArray, columns: NDArray, corners: NDArray, found: NDArray
) -> None:
    """Points ``start`` to ``stop``, in the order of the blocks, of all clouds."""
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
