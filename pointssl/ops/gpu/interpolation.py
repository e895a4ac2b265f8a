"""Weighted sums over few neighbours; see :mod:`pointssl.ops.interpolation`."""

from torch import Tensor

from pointssl.ops.gather import flat_index
from pointssl.ops.gpu import gather


def weighted_sum(values: Tensor, idx: Tensor, weight: Tensor) -> Tensor:
    """Rows of values ``(B, M, C)``, those of ``idx (B, N, k)``, summed up by ``weight (B, N, k)``:
    ``(B, N, C)``, with gradients to values and weight."""
    rows = flat_index(idx, values.shape[1])
    found: Tensor = gather.weighted_sum(values.flatten(0, 1), rows, weight.flatten(0, 1))
    return found.view(*idx.shape[:2], values.shape[2])
