"""Features carried from a few places to many points."""

import torch
from torch import Tensor

from pointssl.ops.exporting import tiny
from pointssl.ops.gather import take_rows
from pointssl.ops.neighbours import exact, knn_among


def interpolate(values: Tensor, places: Tensor, targets: Tensor, k: int = 3) -> Tensor:
    """Mean of the ``k`` nearest places' values, weighted by inverse squared distance.

    Feature propagation of PointNet++ (Qi et al. 2017, arXiv 1706.02413). A target that stands on a
    place gets that place's values but for rounding.

    Args:
        values: ``(B, M, C)`` at ``places (B, M, 3)``.
        targets: ``(B, N, 3)``.
        k: at most M are used.

    Returns:
        ``(B, N, C)``.
    """
    places, targets = exact(places), exact(targets)
    idx = knn_among(targets, places, min(k, places.shape[1]))
    squared = (take_rows(places, idx) - targets[:, :, None]).square().sum(-1)
    weight = 1 / (squared + tiny())
    weight = weight / weight.sum(-1, keepdim=True)
    found = weight[..., 0, None] * take_rows(values, idx[..., 0])
    for place in range(1, idx.shape[-1]):  # one neighbour after the other: no (B, N, k, C)
        found = torch.addcmul(found, weight[..., place, None], take_rows(values, idx[..., place]))
    return found.to(values.dtype)


def interpolate_reference(values: Tensor, places: Tensor, targets: Tensor, k: int = 3) -> Tensor:
    """The same with all distances written out, sorted and gathered at once."""
    k = min(k, places.shape[1])
    squared = (targets[:, :, None] - places[:, None]).square().sum(-1)
    near = squared.argsort(dim=-1, stable=True)[..., :k]
    weight = 1 / (squared.gather(-1, near) + 1e-8)
    weight = weight / weight.sum(-1, keepdim=True)
    rows = torch.arange(len(values))[:, None, None]
    return (weight[..., None] * values[rows, near]).sum(2)
