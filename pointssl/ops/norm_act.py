"""Fused batch norm and leaky ReLU over rows ``(R, C)``, the end of every point layer."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm

from pointssl.ops.backends import backend_for
from pointssl.ops.batch_norm import is_synced, update_running
from pointssl.ops.collectives import shared_mean, sum_over_ranks
from pointssl.ops.exporting import is_exporting


def norm_act(x: Tensor, norm: _BatchNorm, slope: float, overwrite: bool = False) -> Tensor:
    """Compute ``leaky_relu(norm(x), slope)``, keeping the shape ``(R, C)``.

    With ``overwrite``, evaluation may write its result into ``x``, which must not be used again.

    Training on a CPU takes two passes over ``x`` instead of four, backward two instead of five,
    and only ``x`` is saved.
    """
    if not has_kernel(x, norm):
        y = norm(x)
        return F.leaky_relu(y, slope, inplace=True) if slope else F.relu(y, inplace=True)
    if not norm.training:
        assert norm.running_mean is not None
        assert norm.running_var is not None
        scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
        x = x.contiguous()
        y = x if overwrite else torch.empty_like(x)
        _activate(x, norm.running_mean, scale, norm.bias, slope, y)
        return y
    y, mean, var, count = _NormAct.apply(
        x, norm.weight, norm.bias, norm.eps, slope, is_synced(norm)
    )
    update_running(norm, mean, var, count)
    return y


def has_kernel(x: Tensor, norm: _BatchNorm) -> bool:
    """Return whether :func:`norm_act` has a compiled kernel for this input: in training, and in
    evaluation with running statistics if no gradient is needed."""
    if norm.weight is None or is_exporting() or backend_for(x, norm.weight) != "numba":
        return False
    if norm.training:
        return len(x) > 1
    parts = (x, norm.weight, norm.bias)
    wants_gradient = torch.is_grad_enabled() and any(part.requires_grad for part in parts)
    return norm.running_mean is not None and not wants_gradient


def _activate(
    x: Tensor, mean: Tensor, scale: Tensor, bias: Tensor, slope: float, out: Tensor
) -> None:
    from pointssl.ops.cpu import norms
    from pointssl.ops.cpu.threads import in_parallel

    arrays = (tensor.detach().numpy() for tensor in (x, mean, scale, bias))
    in_parallel(norms.activate, len(x), *arrays, slope, out.detach().numpy())


class _NormAct(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float, slope: float, synced: bool
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        from pointssl.ops.cpu import norms
        from pointssl.ops.cpu.threads import in_parallel

        x = x.contiguous()
        pivot = shared_mean(x[: norms.STRIP], synced)  # any value close to the mean works
        sums = torch.zeros(norms.CHUNKS, 2, x.shape[1], dtype=torch.float64)
        in_parallel(norms.moments, norms.CHUNKS, x.numpy(), pivot.numpy(), sums.numpy())
        rows = sums.new_full((1, x.shape[1]), len(x))
        total = sum_over_ranks(torch.cat((sums.sum(0), rows)), synced)
        count = total[2, 0]
        first, second = total[:2] / count
        mean = (pivot + first).to(x.dtype)
        var = (second - first.square()).clamp_min(0).to(x.dtype)
        scale = weight * (var + eps).rsqrt()
        y = torch.empty_like(x)
        _activate(x, mean, scale, bias, slope, y)
        ctx.save_for_backward(x, mean, scale, bias, var, count)
        ctx.eps, ctx.slope, ctx.synced = eps, slope, synced
        ctx.mark_non_differentiable(mean, var, count)
        return y, mean, var, count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        from pointssl.ops.cpu import norms
        from pointssl.ops.cpu.threads import in_parallel

        x, mean, scale, bias, var, count = ctx.saved_tensors
        arrays = (grad_y.contiguous(), x, mean, scale, bias.detach())
        inputs = [array.numpy() for array in arrays]
        sums = torch.zeros(norms.CHUNKS, 2, x.shape[1], dtype=torch.float64)
        in_parallel(norms.gradient_sums, norms.CHUNKS, *inputs, ctx.slope, sums.numpy())
        inv_std = (var + ctx.eps).rsqrt()
        grad_bias, grad_weight = sums.sum(0).to(x.dtype)
        grad_weight = grad_weight * inv_std
        means = sum_over_ranks(torch.stack((grad_bias, grad_weight)), ctx.synced) / count
        means = means.to(x.dtype)
        slant = scale * means[1] * inv_std
        offset = scale * means[0]
        grad_x = torch.empty_like(x)
        in_parallel(
            norms.gradient, len(x), *inputs, offset.numpy(), slant.numpy(), ctx.slope,
            grad_x.numpy(),
        )  # fmt: skip
        return grad_x, grad_weight, grad_bias, None, None, None
