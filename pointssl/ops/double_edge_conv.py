"""The double edge convolution in plain torch, computed in blocks of edges that stay in cache.

The first layer is factorised as in :mod:`pointssl.ops.edge_conv`; the second is a matrix product
over edges. The function to call is :func:`pointssl.ops.edge_conv.double_edge_conv`.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from pointssl.ops.collectives import shared_mean, sum_over_ranks
from pointssl.ops.edge_stats import center_and_var, edge_norm_backward, leaky_relu_backward
from pointssl.ops.gather import BLOCK, max_of_slices, rows_of
from pointssl.ops.slots import slot_type


def _step(values: Tensor, k: int) -> int:
    """Choose the rows per block: small enough for a CPU's cache, larger on a GPU."""
    block = BLOCK // 2 if values.device.type == "cpu" else 32 * BLOCK
    return max(1, block // (k * values.shape[1]))


def _hidden(u: Tensor, v: Tensor, columns: Tensor, slope: float) -> Tensor:
    """Compute ``leaky(u_j + v_i) (K, rows, O)`` for a block of rows, with their neighbours
    ``(K, rows)``."""
    return F.leaky_relu_(rows_of(u, columns).add_(v), slope)


def double_edge_conv_frozen(
    u: Tensor, v: Tensor, idx: Tensor, weight2: Tensor, shift2: Tensor, slope: float
) -> Tensor:
    """Compute ``max_j leaky(W2 leaky(u_j + v_i) + b) (Q, P)``, in evaluation mode with the norms
    folded into the weights."""
    step = _step(u, idx.shape[1])
    columns = idx.t().contiguous()
    blocks = []
    for start in range(0, idx.shape[0], step):
        part = slice(start, start + step)
        hidden = _hidden(u, v[part], columns[:, part], slope)
        blocks.append(F.linear(hidden, weight2).amax(dim=0))
    return F.leaky_relu_(torch.cat(blocks).add_(shift2), slope)


def winners(
    u: Tensor, v: Tensor, idx: Tensor, weight: Tensor, slope: float, synced: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Find the largest of each centre's edges ``leaky(u_j + v_i) weight``, and its index.

    Args:
        weight: ``(O, P)``.

    Returns:
        ``best (Q, P)``, the maxima minus the pivot; ``slot (Q, P)``, their indices among the K
        neighbours; ``pivot (P,)``, the same on every rank and close to the mean of all edges, which
        avoids cancellation in the variance; ``sums (2, P)`` of ``edge - pivot`` and of its square
        over all edges of this rank.
    """
    rows, k = idx.shape
    step = _step(u, k)
    columns = idx.t().contiguous()
    best = u.new_empty(rows, weight.shape[1])
    slot = torch.empty_like(best, dtype=slot_type(k))
    pivot: Tensor | None = None
    sums = u.new_zeros(2, weight.shape[1])
    for start in range(0, rows, step):
        part = slice(start, start + step)
        hidden = _hidden(u, v[part], columns[:, part], slope).flatten(0, 1)
        if pivot is None:
            pivot = shared_mean(hidden, synced) @ weight
        edges = torch.addmm(-pivot, hidden, weight).view(k, -1, len(pivot))
        best[part], slot[part] = max_of_slices(edges)
        sums[0] += edges.sum((0, 1))
        sums[1] += edges.square_().sum((0, 1))
    assert pivot is not None
    return best, slot, pivot, sums


def gradients(
    u: Tensor, v: Tensor, idx: Tensor, slot: Tensor, at_winners: Tensor, weight2: Tensor,
    slant: Tensor, shift: Tensor, slope: float,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Backpropagate through the edges ``e = W2 leaky(u_j + v_i)``.

    The gradient of an edge is ``-(shift + e * slant)``, from the batch statistics, plus
    ``at_winners`` if the edge was its centre's maximum.

    Returns:
        The gradients of ``u (R, O)``, ``v (Q, O)`` and ``weight2 (P, O)``.
    """
    affine = (-slant[:, None] * weight2).t()
    grad_weight2 = torch.zeros_like(weight2)
    grad_u, grad_v = torch.zeros_like(u), torch.empty_like(v)
    rows, k = idx.shape
    step = _step(u, k)
    columns = idx.t().contiguous()
    for start in range(0, rows, step):
        part = slice(start, start + step)
        hidden = _hidden(u, v[part], columns[:, part], slope).flatten(0, 1)
        grad_edges = torch.addmm(-shift, hidden, affine)
        grad_edges.view(k, -1, len(shift)).scatter_add_(
            0, slot[None, part].long(), at_winners[None, part]
        )
        grad_weight2.addmm_(grad_edges.t(), hidden)
        grad_hidden = leaky_relu_backward(grad_edges @ weight2, hidden, slope)
        grad_v[part] = grad_hidden.view(k, -1, u.shape[1]).sum(0)
        grad_u.index_add_(0, columns[:, part].reshape(-1), grad_hidden)
    return grad_u, grad_v, grad_weight2


def run_forward(
    ctx: Any, winners: Callable[..., Any], u: Tensor, v: Tensor, idx: Tensor, gamma1: Tensor,
    beta1: Tensor, weight2: Tensor, gamma2: Tensor, beta2: Tensor, eps: tuple[float, float],
    slope: float, synced: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Run the forward pass in training mode: both norms, around a backend's :func:`winners`."""
    u, v, mean1, var1, count = center_and_var(u, v, idx, synced)
    inv_std1 = (var1 + eps[0]).rsqrt()
    scale1 = gamma1 * inv_std1
    sign = torch.where(gamma2 >= 0, 1.0, -1.0).to(u.dtype)  # a negative scale needs the minimum
    best, slot, pivot, sums = winners(
        u * scale1, torch.addcmul(beta1, v, scale1), idx, (weight2 * sign[:, None]).t(), slope,
        synced,
    )  # fmt: skip
    first, second = (sum_over_ranks(sums, synced) / count).to(u.dtype)
    var2 = second - first.square()
    inv_std2 = (var2 + eps[1]).rsqrt()
    winner2 = best.sub_(first).mul_(inv_std2 * sign)
    mean2 = (pivot + first) * sign
    y = F.leaky_relu_(torch.addcmul(beta2, winner2, gamma2), slope)
    ctx.save_for_backward(
        u, v, idx, gamma1, beta1, weight2, gamma2, inv_std1, inv_std2, mean2, winner2, slot, y,
        count,
    )  # fmt: skip
    ctx.slope, ctx.synced = slope, synced
    ctx.mark_non_differentiable(mean1, var1, mean2, var2, count)
    return y, mean1, var1, mean2, var2, count


def run_backward(
    ctx: Any, gradients: Callable[..., Any], grad_y: Tensor
) -> tuple[Tensor | None, ...]:
    """Run the backward pass of :func:`run_forward`, around a backend's :func:`gradients`."""
    (
        u, v, idx, gamma1, beta1, weight2, gamma2, inv_std1, inv_std2, mean2, winner2, slot, y,
        count,
    ) = ctx.saved_tensors  # fmt: skip
    grad = leaky_relu_backward(grad_y, y, ctx.slope)
    grad_beta2, grad_gamma2 = grad.sum(0), (grad * winner2).sum(0)
    means2 = sum_over_ranks(torch.stack((grad_beta2, grad_gamma2)), ctx.synced) / count
    scale2 = gamma2 * inv_std2
    slant = scale2 * inv_std2 * means2[1]
    shift = scale2 * means2[0] - slant * mean2

    scale1 = gamma1 * inv_std1
    grad_u, grad_v, grad_weight2 = gradients(
        u * scale1, torch.addcmul(beta1, v, scale1), idx, slot, scale2 * grad, weight2, slant,
        shift, ctx.slope,
    )  # fmt: skip
    grad_beta1 = grad_v.sum(0)
    grad_gamma1 = ((grad_u * u).sum(0) + (grad_v * v).sum(0)) * inv_std1
    means1 = sum_over_ranks(torch.stack((grad_beta1, grad_gamma1)), ctx.synced) / count
    grad_u, grad_v = edge_norm_backward(grad_u, grad_v, u, v, idx, gamma1, inv_std1, means1)
    return (
        grad_u, grad_v, None, grad_gamma1, grad_beta1, grad_weight2, grad_gamma2, grad_beta2, None,
        None, None,
    )  # fmt: skip


class DoubleEdgeConv(torch.autograd.Function):
    """Double edge convolution in training mode; saves tensors of points only for backward."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, ...]:
        return run_forward(ctx, winners, *inputs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        return run_backward(ctx, gradients, grad_y)
