"""Features carried from a few places to many points; see :mod:`pointssl.ops.interpolation`."""

from torch import Tensor

from pointssl.ops.exporting import tiny
from pointssl.ops.gather import flat_index, take_rows
from pointssl.ops.gpu.gather import weighted_sum
from pointssl.ops.gpu.knn import knn_among


def interpolate(values: Tensor, places: Tensor, targets: Tensor, k: int = 3) -> Tensor:
    """See :func:`pointssl.ops.interpolation.interpolate`; places and targets at least float32.

    The search is one kernel, the weighted sum over the neighbours another.
    """
    idx = knn_among(targets, places, min(k, places.shape[1]))
    squared = (take_rows(places, idx) - targets[:, :, None]).square().sum(-1)
    weight = 1 / (squared + tiny())
    weight = weight / weight.sum(-1, keepdim=True)
    found = weighted_sum(
        values.flatten(0, 1), flat_index(idx, places.shape[1]), weight.flatten(0, 1)
    )
    return found.view(*targets.shape[:2], values.shape[2])
