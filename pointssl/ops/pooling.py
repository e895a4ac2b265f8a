"""The maximum over a cloud's points."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from pointssl.ops.backends import backend_for
from pointssl.ops.exporting import is_exporting


def max_over_points(values: Tensor) -> Tensor:
    """``values.max(dim=1).values``, ``(B, N, C)`` to ``(B, C)``: a gradient goes to the first point
    of those that have the maximum.

    On a CPU torch's own maximum with indices walks across memory instead of along it.
    """
    if backend_for(values) != "numba" or is_exporting() or values.shape[1] == 0:
        return values.max(dim=1).values
    return _MaxOverPoints.apply(values)


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
