"""Maxima and sums over neighbours, and their reverse, each in one pass; see
:mod:`pointssl.ops.gather` for what they mean.

Sums run over centres in their order, so that they don't depend on the number of threads: what
writes to the centres' neighbours is split by channels instead.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pointssl.ops.cpu.threads import in_parallel
from pointssl.ops.slots import slot_type
from pointssl_datasets.base.compiling import compiled

LANES = 16  # channels are split in multiples of these


def neighbour_max(values: Tensor, idx: Tensor) -> tuple[Tensor, Tensor]:
    """``(R, C)`` and ``(Q, K)`` to twice ``(Q, C)``: the maximum, and which of the K it was."""
    best = values.new_empty(len(idx), values.shape[1])
    slot = torch.empty_like(best, dtype=slot_type(idx.shape[1]))
    arrays = (values.contiguous().numpy(), idx.contiguous().numpy(), best.numpy(), slot.numpy())
    in_parallel(_maximum, len(idx), *arrays)
    return best, slot


def neighbour_max_only(values: Tensor, idx: Tensor) -> Tensor:
    """``(R, C)`` and ``(Q, K)`` to ``(Q, C)``."""
    best = values.new_empty(len(idx), values.shape[1])
    arrays = (values.contiguous().numpy(), idx.contiguous().numpy(), best.numpy())
    in_parallel(_maximum_only, len(idx), *arrays)
    return best


def max_over_points(values: Tensor) -> tuple[Tensor, Tensor]:
    """``(B, N, C)`` to twice ``(B, C)``: the maximum, and int64 which point it was."""
    clouds, _, channels = values.shape
    best = values.new_empty(clouds, channels)
    which = torch.empty(clouds, channels, dtype=torch.int64)
    arrays = (values.contiguous().numpy(), best.numpy(), which.numpy())
    in_parallel(_columns_maximum, clouds, *arrays)
    return best, which


def to_winners(grad: Tensor, idx: Tensor, slot: Tensor, rows: int) -> Tensor:
    """Gradients of maxima ``(Q, C)``, each added to the row that won: ``(rows, C)``."""
    out = grad.new_zeros(rows, grad.shape[1])
    arrays = (grad.contiguous().numpy(), idx.contiguous().numpy(), slot.numpy(), out.numpy())
    _by_channels(_scatter, *arrays)
    return out


def reverse_neighbour_sum(values: Tensor, idx: Tensor, rows: int) -> Tensor:
    """For each row the sum of its centres' ``values (Q, C)``: ``(rows, C)``."""
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
                better = (value > top[c]) | (value != value)  # NaN is passed on
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
