"""Weighted sums over neighbours and their transpose on CPUs, each in one pass."""

from numpy.typing import NDArray
from torch import Tensor

from pointssl.ops.cpu.threads import in_parallel
from pointssl_datasets.base.compiling import compiled


def weighted_sum(values: Tensor, idx: Tensor, weight: Tensor) -> Tensor:
    """Sum the rows ``idx (B, N, k)`` of ``values (B, M, C)`` times ``weight``: ``(B, N, C)``."""
    clouds, count = idx.shape[:2]
    out = values.new_empty(clouds, count, values.shape[2])
    arrays = (part.detach().contiguous().numpy() for part in (values, idx, weight))
    in_parallel(_sum, clouds * count, *arrays, out.numpy())
    return out


def weighted_sum_reversed(grad: Tensor, idx: Tensor, weight: Tensor, rows: int) -> Tensor:
    """Scatter gradients ``(B, N, C)`` times ``weight`` to the rows of ``idx``: ``(B, rows, C)``."""
    out = grad.new_zeros(len(grad), rows, grad.shape[2])
    arrays = (part.detach().contiguous().numpy() for part in (grad, idx, weight))
    in_parallel(_scatter, len(out), *arrays, out.numpy())
    return out


@compiled
def _sum(
    start: int, stop: int, values: NDArray, idx: NDArray, weight: NDArray, out: NDArray
) -> None:
    count, k = idx.shape[1:]
    for number in range(start, stop):
        cloud, row = number // count, number % count
        total = out[cloud, row]
        first, share = values[cloud, idx[cloud, row, 0]], weight[cloud, row, 0]
        for c in range(len(total)):
            total[c] = share * first[c]
        for j in range(1, k):
            other, share = values[cloud, idx[cloud, row, j]], weight[cloud, row, j]
            for c in range(len(total)):
                total[c] += share * other[c]


@compiled
def _scatter(
    start: int, stop: int, grad: NDArray, idx: NDArray, weight: NDArray, out: NDArray
) -> None:
    """Scatter clouds ``start`` to ``stop``; threads own whole clouds, so writes never collide."""
    count, k = idx.shape[1:]
    for cloud in range(start, stop):
        for row in range(count):
            value = grad[cloud, row]
            for j in range(k):
                target, share = out[cloud, idx[cloud, row, j]], weight[cloud, row, j]
                for c in range(len(value)):
                    target[c] += share * value[c]
