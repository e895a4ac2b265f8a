"""Farthest point sampling on CPUs: distances and their maximum in one pass.

Each axis is a contiguous row. Distances are not negative, so their bit patterns have the same order
as the numbers: compilers vectorise the maximum of unsigned integers.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pointssl.ops.cpu.threads import in_parallel
from pointssl_datasets.base.compiling import compiled, inner

BLOCK = 256  # points per block maximum; the farthest point is then searched in one block only
BITS = {torch.float32: np.uint32, torch.float64: np.uint64}


def farthest_points(xyz: Tensor, first: Tensor, count: int) -> Tensor:
    """Sample ``count`` points, ``(B, N, 3)`` and first indices ``(B,)`` to ``(B, count)`` int64."""
    clouds, points = xyz.shape[:2]
    chosen = torch.empty(clouds, count, dtype=torch.int64)
    distance = xyz.new_full((clouds, points), torch.inf)
    arrays = (xyz.detach().mT.contiguous().numpy(), first.numpy(), distance.numpy())
    in_parallel(_sample, clouds, *arrays, distance.numpy().view(BITS[xyz.dtype]), chosen.numpy())
    return chosen


@compiled
def _sample(
    start: int, stop: int, columns: NDArray, first: NDArray, distance: NDArray, bits: NDArray,
    chosen: NDArray,
) -> None:  # fmt: skip
    """Sample clouds ``start`` to ``stop``. ``bits`` is ``distance`` viewed as unsigned integers."""
    points, count = distance.shape[1], chosen.shape[1]
    blocks = -(-points // BLOCK)
    top = np.empty(blocks, bits.dtype)
    for cloud in range(start, stop):
        xs, ys, zs = columns[cloud, 0], columns[cloud, 1], columns[cloud, 2]
        latest = first[cloud]
        for step in range(count):
            chosen[cloud, step] = latest
            if step + 1 == count:
                break
            x, y, z = xs[latest], ys[latest], zs[latest]
            for block in range(blocks):
                left, right = block * BLOCK, min((block + 1) * BLOCK, points)
                part = distance[cloud, left:right]
                xp, yp, zp = xs[left:right], ys[left:right], zs[left:right]
                for i in range(len(part)):
                    a, b, c = xp[i] - x, yp[i] - y, zp[i] - z
                    apart = a * a + b * b + c * c
                    nearer = (apart < part[i]) | (apart != apart)  # propagates NaN
                    part[i] = apart if nearer else part[i]
                top[block] = _maximum(bits[cloud, left:right])
            best = 0
            for block in range(1, blocks):
                best = block if top[block] > top[best] else best
            latest = best * BLOCK
            while bits[cloud, latest] != top[best]:
                latest += 1


@inner
def _maximum(values: NDArray) -> int:
    largest = values.dtype.type(0)
    for i in range(len(values)):
        largest = values[i] if values[i] > largest else largest
    return largest
