"""Weighted sums over neighbours on GPUs; see :mod:`pointssl.ops.interpolation`."""

from torch import Tensor

from pointssl.ops.gather import flat_index
from pointssl.ops.gpu import gather


def weighted_sum(values: Tensor, idx: Tensor, weight: Tensor) -> Tensor:
    """Sum the rows ``idx (B, N, k)`` of ``values (B, M, C)`` times ``weight (B, N, k)``:
    ``(B, N, C)``, differentiable in values and weight."""
    rows = flat_index(idx, values.shape[1])
    total: Tensor = gather.weighted_sum(values.flatten(0, 1), rows, weight.flatten(0, 1))
    return total.view(*idx.shape[:2], values.shape[2])
