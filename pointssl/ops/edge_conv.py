"""Exact EdgeConv without the tensor of all edges.

A layer on ``[x_j - x_i ; x_i]`` with weight ``[W1 | W2]`` is ``W1 x_j + (W2 - W1) x_i``: two
products over points, ``u`` and ``v``, and an edge's value is ``u_j + v_i``. (The centres i may also
be a subset of the points, or other points.) From this follow

- the batch-norm statistics over all edges, from sums over neighbours and in-degrees;
- the maximum over neighbours, which can precede the norm and the leaky ReLU because both are
  monotone (if the norm's scale is negative, the minimum is taken);
- the gradients, from the edges that won the maximum and the same sums.

Each function equals its counterpart in :mod:`pointssl.ops.reference` in values, gradients and
running statistics. With a :class:`~pointssl.ops.batch_norm.SyncBatchNorm`, the statistics cover all
processes. Half-precision autocast is disabled inside: both functions run in the dtype of their
weights, as statistics over millions of edges require.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm

from pointssl.ops import double_edge_conv as plain_double
from pointssl.ops.backends import backend_for
from pointssl.ops.batch_norm import is_synced, update_running
from pointssl.ops.collectives import sum_over_ranks
from pointssl.ops.edge_stats import center_and_var, edge_norm_backward, leaky_relu_backward
from pointssl.ops.exporting import double_edge_conv_twin, edge_conv_twin, is_exporting
from pointssl.ops.gather import NeighbourMax, flat_index, neighbour_max, to_winners


def edge_conv(
    x: Tensor,
    idx: Tensor,
    weight: Tensor,
    norm: _BatchNorm,
    slope: float = 0.2,
    centres: Tensor | None = None,
) -> Tensor:
    """Compute ``max_j leaky_relu(norm(W [x_j - x_i ; x_i]))``.

    Args:
        x: ``(B, N, C)`` point features.
        idx: ``(B, M, K)`` neighbours of each centre, indices into N.
        weight: ``(O, 2C)``.
        norm: batch norm of O channels; training mode updates its running statistics.
        slope: negative slope of the leaky ReLU, at least 0.
        centres: ``(B, M, C)`` features of the centres; by default the points themselves, M = N.

    Returns:
        ``(B, M, O)``.
    """
    with torch.autocast(x.device.type, enabled=False):
        flat = flat_index(idx, x.shape[1])
        if norm.training:
            parameters = (flat, norm.weight, norm.bias, norm.eps, slope, is_synced(norm))
            if centres is None and backend_for(x, weight) == "numba":
                from pointssl.ops.cpu.edge_conv import EdgeConv

                y, mean, var, count = EdgeConv.apply(_product(x, weight), *parameters)
            else:
                y, mean, var, count = _EdgeConv.apply(*_products(x, centres, weight), *parameters)
            update_running(norm, mean, var, count)
        else:
            scale, shift = frozen_norm(norm)
            folded = weight * scale[:, None]
            # The compiled kernel has no gradient.
            wants_gradient = any(part.requires_grad for part in (x, folded, shift))
            if centres is None and not wants_gradient and backend_for(x, weight) == "numba":
                from pointssl.ops.cpu.edge_conv import edge_conv_frozen

                y = edge_conv_frozen(_product(x, folded), flat, shift, slope)
            else:
                u, v = _products(x, centres, folded, shift)
                if is_exporting():
                    y = edge_conv_twin(u, v, flat, slope)
                else:
                    y = F.leaky_relu_(NeighbourMax.apply(u, flat).add_(v), slope)
    return y.view(*idx.shape[:2], -1)


def double_edge_conv(
    x: Tensor,
    idx: Tensor,
    weight1: Tensor,
    norm1: _BatchNorm,
    weight2: Tensor,
    norm2: _BatchNorm,
    slope: float = 0.2,
    centres: Tensor | None = None,
) -> Tensor:
    """Compute two shared layers on every edge, then the maximum.

    Only the first layer factorises; the second is a product over edges, in blocks that stay in
    cache and are recomputed by backward.

    Args:
        x: ``(B, N, C)``.
        idx: ``(B, M, K)``.
        weight1: ``(O, 2C)``.
        weight2: ``(P, O)``.
        centres: ``(B, M, C)``, by default ``x``.

    Returns:
        ``(B, M, P)``.
    """
    with torch.autocast(x.device.type, enabled=False):
        flat = flat_index(idx, x.shape[1])
        if norm1.training:
            u, v = _products(x, centres, weight1)
            synced = is_synced(norm1)
            y, mean1, var1, mean2, var2, count = _double(u, weight2, True).DoubleEdgeConv.apply(
                u, v, flat, norm1.weight, norm1.bias, weight2, norm2.weight, norm2.bias,
                (norm1.eps, norm2.eps), slope, synced,
            )  # fmt: skip
            update_running(norm1, mean1, var1, count)
            update_running(norm2, mean2, var2, count)
        else:
            scale1, shift1 = frozen_norm(norm1)
            u, v = _products(x, centres, weight1 * scale1[:, None], shift1)
            scale2, shift2 = frozen_norm(norm2)
            parts = (u, v, weight2 * scale2[:, None], shift2)
            second: Callable[..., Tensor] = plain_double.double_edge_conv_frozen
            if is_exporting():
                second = double_edge_conv_twin
            elif not any(part.requires_grad for part in parts):  # the kernels have no gradient
                second = _double(u, weight2, False).double_edge_conv_frozen
            y = second(u, v, flat, *parts[2:], slope)
    return y.view(*idx.shape[:2], -1)


def _double(u: Tensor, weight2: Tensor, train: bool) -> ModuleType:
    """Return the module that runs a double edge convolution on these tensors."""
    backend = backend_for(u, weight2)
    if backend == "numba":
        from pointssl.ops.cpu import double_edge_conv as compiled

        return compiled
    if backend == "triton":
        from pointssl.ops.gpu import double_edge_conv as fused

        return fused if fused.fits(u, weight2, train) else plain_double
    return plain_double


def split_weight(weight: Tensor) -> Tensor:
    """Rearrange ``[W1 | W2] (O, 2C)`` to ``[W1 ; W2 - W1] (2O, C)``."""
    neighbour, centre = weight.chunk(2, dim=1)
    return torch.cat((neighbour, centre - neighbour))


def frozen_norm(norm: _BatchNorm) -> tuple[Tensor, Tensor]:
    """Return the scale and shift that a batch norm applies in evaluation mode."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    return scale, norm.bias - norm.running_mean * scale


def _product(x: Tensor, weight: Tensor) -> Tensor:
    """Compute ``[u | v] (R, 2 O)`` of every point."""
    return F.linear(x.flatten(0, 1).to(weight.dtype), split_weight(weight))


def _products(
    x: Tensor, centres: Tensor | None, weight: Tensor, shift: Tensor | None = None
) -> tuple[Tensor, ...]:
    """Compute ``u (R, O)`` of every point and ``v (Q, O)`` of every centre, plus ``shift``."""
    rows, weight = x.flatten(0, 1).to(weight.dtype), split_weight(weight)
    if centres is None:  # one product is faster than two
        bias = None if shift is None else torch.cat((torch.zeros_like(shift), shift))
        return F.linear(rows, weight, bias).chunk(2, dim=1)
    neighbour_weight, centre_weight = weight.chunk(2)
    v = F.linear(centres.flatten(0, 1).to(weight.dtype), centre_weight, shift)
    return F.linear(rows, neighbour_weight), v


class _EdgeConv(torch.autograd.Function):
    """Edge convolution in training mode: statistics, norm, activation and maximum of the edges
    ``u_j + v_i``."""

    @staticmethod
    def forward(
        ctx: Any, u: Tensor, v: Tensor, idx: Tensor, gamma: Tensor, beta: Tensor,
        eps: float, slope: float, synced: bool,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
        u, v, mean, var, count = center_and_var(u, v, idx, synced)
        inv_std = (var + eps).rsqrt()
        scale = gamma * inv_std
        best, slot = neighbour_max(u * scale, idx)  # a minimum of u where the scale is negative
        y = F.leaky_relu_(best.addcmul_(v, scale).add_(beta), slope)
        ctx.save_for_backward(u, v, idx, slot, y, gamma, inv_std, count)
        ctx.slope, ctx.synced = slope, synced
        ctx.mark_non_differentiable(mean, var, count)
        return y, mean, var, count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        u, v, idx, slot, y, gamma, inv_std, count = ctx.saved_tensors
        grad = leaky_relu_backward(grad_y, y, ctx.slope)
        grad_u = to_winners(grad, idx, slot, len(u))
        grad_beta = grad.sum(0)
        grad_gamma = ((grad_u * u).sum(0) + (grad * v).sum(0)) * inv_std
        means = sum_over_ranks(torch.stack((grad_beta, grad_gamma)), ctx.synced) / count
        grad_u, grad_v = edge_norm_backward(grad_u, grad, u, v, idx, gamma, inv_std, means)
        return grad_u, grad_v, None, grad_gamma, grad_beta, None, None, None
