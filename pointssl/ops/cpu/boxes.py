"""Nearest neighbours in 3D with bounding boxes, so that distant blocks of points are skipped.

The points are sorted into blocks of neighbours, each with a bounding box. The result is exact: the
distance to a box uses the same subtractions, squares and sums as the distance to a point in it, and
rounding is monotone, so the box is never farther than the point, to the last bit.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pointssl.ops.cpu.selection import BLOCK, nearest_in_boxes
from pointssl.ops.cpu.threads import in_parallel
from pointssl_datasets.base.compiling import compiled


def box_knn(points: Tensor, k: int) -> Tensor:
    """Find the ``k`` nearest of each point, ``(B, N, 3)`` to ``(B, N, k)`` int64, in no order.

    Args:
        points: must be finite, as others have no bounding box.
    """
    clouds, count = points.shape[:2]
    found = torch.empty(clouds, count, k, dtype=torch.int64)
    blocks = sorted_into_boxes(points)
    in_parallel(nearest_in_boxes, clouds * count, *blocks, found.numpy())
    return found


def sorted_into_boxes(points: Tensor) -> tuple[NDArray, NDArray, NDArray]:
    """Sort points ``(B, N, 3)``; return the order ``(B, N)``, the columns ``(B, 3, N)`` in that
    order, and the corners of the blocks' boxes ``(B, 2, 3, blocks)``."""
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
    """Sort clouds ``start`` to ``stop`` by the points' grid cells in Morton order (Morton 1966), in
    which nearby cells tend to be close."""
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
