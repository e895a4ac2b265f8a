"""Interpolation of features from a few places to many points."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from pointssl.ops.backends import backend_for
from pointssl.ops.exporting import tiny
from pointssl.ops.gather import take_rows
from pointssl.ops.neighbours import exact, in_space, knn_among, require_enough


def interpolate(values: Tensor, places: Tensor, targets: Tensor, k: int = 3) -> Tensor:
    """Average the values of the ``k`` nearest places, weighted by inverse squared distance.

    This is the feature propagation of PointNet++ (Qi et al. 2017, arXiv 1706.02413). A target that
    coincides with a place gets its values, up to rounding.

    Args:
        values: ``(B, M, C)`` at ``places (B, M, 3)``.
        targets: ``(B, N, 3)``.
        k: capped at M.

    Returns:
        ``(B, N, C)``.
    """
    require_enough(places.shape[1], 1)
    places, targets = exact(places), exact(targets)
    idx = nearest(targets, places, min(k, places.shape[1]))
    squared = (take_rows(places, idx) - targets[:, :, None]).square().sum(-1)
    weight = 1 / (squared + tiny())
    weight = weight / weight.sum(-1, keepdim=True)
    if backend_for(values, weight) == "numba" and values.shape[:2] == places.shape[:2]:
        sums: Tensor = WeightedSum.apply(values, idx, weight)
        return sums
    if backend_for(values, weight) == "triton":
        from pointssl.ops.gpu.interpolation import weighted_sum

        return weighted_sum(values, idx, weight)
    total = weight[..., 0, None] * take_rows(values, idx[..., 0])
    for place in range(1, idx.shape[-1]):  # by neighbour, to avoid a tensor (B, N, k, C)
        total = torch.addcmul(total, weight[..., place, None], take_rows(values, idx[..., place]))
    return total.to(values.dtype)


@torch.no_grad()
def nearest(targets: Tensor, places: Tensor, k: int) -> Tensor:
    """Return the ``k`` places nearest to each target, ``(B, N, 3)`` and ``(B, M, 3)`` to
    ``(B, N, k)``: :func:`pointssl.ops.neighbours.knn_among`, optimised for small ``k``."""
    require_enough(places.shape[1], max(k, 1))
    if backend_for(targets, places) == "numba" and in_space(targets, places):
        from pointssl.ops.cpu.search import nearest as compiled_nearest

        return compiled_nearest(targets, places, k)
    if backend_for(targets, places) == "triton" and in_space(targets, places):
        from pointssl.ops.gpu import knn as fused

        if fused.fits(k):
            return fused.nearest(targets, places, k)
    return knn_among(targets, places, k)


class WeightedSum(torch.autograd.Function):
    """Weighted sum ``(B, N, C)`` of the rows ``idx (B, N, k)`` of ``values (B, M, C)``, with
    ``weight (B, N, k)``."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, idx: Tensor, weight: Tensor) -> Tensor:
        from pointssl.ops.cpu.interpolation import weighted_sum

        ctx.save_for_backward(values, idx, weight)
        return weighted_sum(values, idx, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, None, Tensor | None]:
        from pointssl.ops.cpu.interpolation import weighted_sum_reversed

        values, idx, weight = ctx.saved_tensors
        grad_values = grad_weight = None
        if ctx.needs_input_grad[0]:
            grad_values = weighted_sum_reversed(grad, idx, weight, values.shape[1])
        if ctx.needs_input_grad[2]:
            grad_weight = (take_rows(values, idx) * grad[:, :, None]).sum(-1)
        return grad_values, None, grad_weight


def interpolate_reference(values: Tensor, places: Tensor, targets: Tensor, k: int = 3) -> Tensor:
    """Reference for :func:`interpolate`: sort the matrix of all distances."""
    k = min(k, places.shape[1])
    squared = (targets[:, :, None] - places[:, None]).square().sum(-1)
    near = squared.argsort(dim=-1, stable=True)[..., :k]
    weight = 1 / (squared.gather(-1, near) + 1e-8)
    weight = weight / weight.sum(-1, keepdim=True)
    rows = torch.arange(len(values))[:, None, None]
    return (weight[..., None] * values[rows, near]).sum(2)
