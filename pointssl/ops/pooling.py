"""Global max and mean pooling over a cloud's points."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from pointssl.ops.backends import backend_for
from pointssl.ops.exporting import is_exporting


def max_over_points(values: Tensor) -> Tensor:
    """Compute ``values.max(dim=1).values``, ``(B, N, C)`` to ``(B, C)``; the gradient goes to the
    first point with the maximum.

    On a CPU, torch's own maximum with indices accesses memory with a stride.
    """
    return _MaxOverPoints.apply(values) if _has_kernel(values) else values.max(dim=1).values


def max_and_mean_over_points(values: Tensor) -> tuple[Tensor, Tensor]:
    """Compute :func:`max_over_points` and the mean, with a fused backward."""
    if _has_kernel(values):
        best, mean = _MaxAndMean.apply(values)
        return best, mean
    return values.max(dim=1).values, values.mean(dim=1)


def _has_kernel(values: Tensor) -> bool:
    return backend_for(values) == "numba" and not is_exporting() and values.shape[1] > 0


class _MaxOverPoints(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        from pointssl.ops.cpu.gather import max_over_points as compiled

        best, which = compiled(values)
        ctx.save_for_backward(which)
        ctx.points = values.shape[1]
        return best

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (which,) = ctx.saved_tensors
        out = grad.new_zeros(len(grad), ctx.points, grad.shape[1])
        return out.scatter_(1, which[:, None], grad[:, None])


class _MaxAndMean(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> tuple[Tensor, Tensor]:
        from pointssl.ops.cpu.gather import max_over_points as compiled

        best, which = compiled(values)
        ctx.save_for_backward(which)
        ctx.points = values.shape[1]
        return best, values.mean(dim=1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_max: Tensor, grad_mean: Tensor) -> Tensor:
        (which,) = ctx.saved_tensors
        share = (grad_mean / ctx.points)[:, None]
        out = share.expand(-1, ctx.points, -1).clone(memory_format=torch.contiguous_format)
        return out.scatter_add_(1, which[:, None], grad_max[:, None])
