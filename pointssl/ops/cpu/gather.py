"""Maxima and sums over neighbours on CPUs, and their transposes, each in one pass.

See :mod:`pointssl.ops.gather` for their definitions. Scatters to the neighbours are parallel over
channels, not centres, so sums have a fixed order and don't depend on the number of threads.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pointssl.ops.cpu.threads import in_parallel
from pointssl.ops.slots import slot_type
from pointssl_datasets.base.compiling import compiled

LANES = 16  # threads get multiples of this many channels


def neighbour_max(values: Tensor, idx: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the maximum and its index among the K: ``(R, C)`` and ``(Q, K)`` to twice ``(Q,
    C)``."""
    best = values.new_empty(len(idx), values.shape[1])
    slot = torch.empty_like(best, dtype=slot_type(idx.shape[1]))
    arrays = (values.contiguous().numpy(), idx.contiguous().numpy(), best.numpy(), slot.numpy())
    in_parallel(_maximum, len(idx), *arrays)
    return best, slot


def neighbour_max_only(values: Tensor, idx: Tensor) -> Tensor:
    """Compute the maximum alone: ``(R, C)`` and ``(Q, K)`` to ``(Q, C)``."""
    best = values.new_empty(len(idx), values.shape[1])
    arrays = (values.contiguous().numpy(), idx.contiguous().numpy(), best.numpy())
    in_parallel(_maximum_only, len(idx), *arrays)
    return best


def max_over_points(values: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the maximum and the int64 index of its point: ``(B, N, C)`` to twice ``(B, C)``."""
    clouds, _, channels = values.shape
    best = values.new_empty(clouds, channels)
    which = torch.empty(clouds, channels, dtype=torch.int64)
    arrays = (values.contiguous().numpy(), best.numpy(), which.numpy())
    in_parallel(_columns_maximum, clouds, *arrays)
    return best, which


def to_winners(grad: Tensor, idx: Tensor, slot: Tensor, rows: int) -> Tensor:
    """Add the gradients ``(Q, C)`` of the maxima to the rows that won: ``(rows, C)``."""
    out = grad.new_zeros(rows, grad.shape[1])
    arrays = (grad.contiguous().numpy(), idx.contiguous().numpy(), slot.numpy(), out.numpy())
    _by_channels(_scatter, *arrays)
    return out


def reverse_neighbour_sum(values: Tensor, idx: Tensor, rows: int) -> Tensor:
    """Sum the ``values (Q, C)`` of the centres that have each row as a neighbour: ``(rows, C)``."""
    out = values.new_zeros(rows, values.shape[1])
    _by_channels(_reverse_sum, values.contiguous().numpy(), idx.contiguous().numpy(), out.numpy())
    return out


def _by_channels(kernel: object, values: NDArray, *arrays: NDArray) -> None:
    channels = values.shape[1]
    in_parallel(kernel, -(-channels // LANES), LANES, channels, values, *arrays)  # type: ignore[arg-type]


@compiled
def _maximum(start: int, stop: int, values: NDArray, idx: NDArray, best: NDArray, slot: NDArray
) -> None:  # fmt: skip
    channels, k = values.shape[1], idx.shape[1]
    which = np.empty(channels, np.int32)
    for row in range(start, stop):
        top = best[row]
        top[:] = values[idx[row, 0]]
        which[:] = 0
        for j in range(1, k):
            other = values[idx[row, j]]
            for c in range(channels):
                value = other[c]
                better = (value > top[c]) | (value != value)  # propagates NaN
                top[c] = value if better else top[c]
                which[c] = j if better else which[c]
        for c in range(channels):
            slot[row, c] = which[c]


@compiled
def _columns_maximum(start: int, stop: int, values: NDArray, best: NDArray, which: NDArray) -> None:
    points, channels = values.shape[1:]
    place = np.empty(channels, np.int32)
    for cloud in range(start, stop):
        top = best[cloud]
        top[:] = values[cloud, 0]
        place[:] = 0
        for point in range(1, points):
            other = values[cloud, point]
            for c in range(channels):
                value = other[c]
                better = (value > top[c]) | (value != value)
                top[c] = value if better else top[c]
                place[c] = point if better else place[c]
        for c in range(channels):
            which[cloud, c] = place[c]


@compiled
def _maximum_only(start: int, stop: int, values: NDArray, idx: NDArray, best: NDArray) -> None:
    channels, k = values.shape[1], idx.shape[1]
    for row in range(start, stop):
        top = best[row]
        top[:] = values[idx[row, 0]]
        for j in range(1, k):
            other = values[idx[row, j]]
            for c in range(channels):
                value = other[c]
                top[c] = value if (value > top[c]) | (value != value) else top[c]


@compiled
def _scatter(
    start: int,
    stop: int,
    lanes: int,
    channels: int,
    grad: NDArray,
    idx: NDArray,
    slot: NDArray,
    out: NDArray,
) -> None:
    left, right = lanes * start, min(lanes * stop, channels)
    for row in range(len(grad)):
        for c in range(left, right):
            out[idx[row, slot[row, c]], c] += grad[row, c]


@compiled
def _reverse_sum(
    start: int, stop: int, lanes: int, channels: int, values: NDArray, idx: NDArray, out: NDArray
) -> None:
    left, right = lanes * start, min(lanes * stop, channels)
    for row in range(len(values)):
        value = values[row, left:right]
        for j in range(idx.shape[1]):
            target = out[idx[row, j], left:right]
            for c in range(len(value)):
                target[c] += value[c]
