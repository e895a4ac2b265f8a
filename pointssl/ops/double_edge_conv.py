"""The double edge convolution: a factorised first layer, a product over edges in cached blocks.

See :mod:`pointssl.ops.edge_conv` for the idea and :func:`pointssl.ops.edge_conv.double_edge_conv`
for the function to call.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from pointssl.ops.collectives import sum_over_ranks
from pointssl.ops.edge_stats import center_and_var, edge_norm_backward, leaky_relu_backward
from pointssl.ops.gather import BLOCK, max_of_slices, rows_of, slot_type


def _step(values: Tensor, k: int) -> int:
    """Rows per block: small enough for a CPU's cache, larger where memory is fast."""
    block = BLOCK // 2 if values.device.type == "cpu" else 32 * BLOCK
    return max(1, block // (k * values.shape[1]))


def _hidden(u: Tensor, v: Tensor, columns: Tensor, slope: float) -> Tensor:
    """``leaky(u_j + v_i)`` for a block of rows with neighbours ``(K, rows)``: ``(K, rows, O)``."""
    return F.leaky_relu_(rows_of(u, columns).add_(v), slope)


def double_edge_conv_frozen(
    u: Tensor, v: Tensor, idx: Tensor, weight2: Tensor, shift2: Tensor, slope: float
) -> Tensor:
    """Evaluation mode, norms folded in: ``max_j leaky(W2 leaky(u_j + v_i) + b)``, ``(Q, P)``."""
    step = _step(u, idx.shape[1])
    columns = idx.t().contiguous()
    blocks = []
    for start in range(0, idx.shape[0], step):
        part = slice(start, start + step)
        hidden = _hidden(u, v[part], columns[:, part], slope)
        blocks.append(F.linear(hidden, weight2).amax(dim=0))
    return F.leaky_relu_(torch.cat(blocks).add_(shift2), slope)


class DoubleEdgeConv(torch.autograd.Function):
    """Training mode: both norms over all edges; only points are kept for backward."""

    @staticmethod
    def forward(
        ctx: Any, u: Tensor, v: Tensor, idx: Tensor, gamma1: Tensor, beta1: Tensor,
        weight2: Tensor, gamma2: Tensor, beta2: Tensor, eps: tuple[float, float], slope: float,
        synced: bool,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
        u, v, mean1, var1, count = center_and_var(u, v, idx, synced)
        inv_std1 = (var1 + eps[0]).rsqrt()
        scale1 = gamma1 * inv_std1
        scaled_u, scaled_v = u * scale1, torch.addcmul(beta1, v, scale1)
        sign = torch.where(gamma2 >= 0, 1.0, -1.0).to(u.dtype)  # the minimum, where negative
        signed2 = (weight2 * sign[:, None]).t()

        rows, k = idx.shape
        step = _step(u, k)
        columns = idx.t().contiguous()
        best = u.new_empty(rows, weight2.shape[0])
        slot = torch.empty_like(best, dtype=slot_type(k))  # which of the K neighbours won
        # All edges are taken relative to the mean of the first block: their squares cancel less.
        pivot: Tensor | None = None
        sums = u.new_zeros(2, weight2.shape[0])
        for start in range(0, rows, step):
            part = slice(start, start + step)
            hidden = _hidden(scaled_u, scaled_v[part], columns[:, part], slope)
            if pivot is None:
                pivot = _shared_pivot(hidden.mean((0, 1)), synced) @ signed2
            edges = torch.addmm(-pivot, hidden.flatten(0, 1), signed2).view(k, -1, len(pivot))
            best[part], slot[part] = max_of_slices(edges)
            sums[0] += edges.sum((0, 1))
            sums[1] += edges.square_().sum((0, 1))
        assert pivot is not None
        first, second = sum_over_ranks(sums, synced) / count
        var2 = second - first.square()
        inv_std2 = (var2 + eps[1]).rsqrt()
        winner2 = best.sub_(first).mul_(inv_std2 * sign)
        mean2 = (pivot + first) * sign
        y = F.leaky_relu_(torch.addcmul(beta2, winner2, gamma2), slope)
        ctx.save_for_backward(
            u, v, idx, gamma1, beta1, weight2, gamma2, inv_std1, inv_std2, mean2, winner2, slot,
            y, count,
        )  # fmt: skip
        ctx.slope, ctx.synced = slope, synced
        ctx.mark_non_differentiable(mean1, var1, mean2, var2, count)
        return y, mean1, var1, mean2, var2, count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        (
            u, v, idx, gamma1, beta1, weight2, gamma2, inv_std1, inv_std2, mean2, winner2, slot,
            y, count,
        ) = ctx.saved_tensors  # fmt: skip
        slope = ctx.slope
        grad = leaky_relu_backward(grad_y, y, slope)
        grad_beta2, grad_gamma2 = grad.sum(0), (grad * winner2).sum(0)
        means2 = sum_over_ranks(torch.stack((grad_beta2, grad_gamma2)), ctx.synced) / count

        # The gradient of an edge e = W2 h before norm 2: `scale2 * grad` at the winners, and at
        # all edges minus `shift + e * slant`, an affine function of h.
        scale2 = gamma2 * inv_std2
        slant = scale2 * inv_std2 * means2[1]
        shift = scale2 * means2[0] - slant * mean2
        affine = (-slant[:, None] * weight2).t()
        at_winners = scale2 * grad

        scale1 = gamma1 * inv_std1
        scaled_u, scaled_v = u * scale1, torch.addcmul(beta1, v, scale1)
        grad_weight2 = torch.zeros_like(weight2)
        grad_u, grad_v = torch.zeros_like(u), torch.empty_like(v)
        rows, k = idx.shape
        step = _step(u, k)
        columns = idx.t().contiguous()
        for start in range(0, rows, step):
            part = slice(start, start + step)
            hidden = _hidden(scaled_u, scaled_v[part], columns[:, part], slope).flatten(0, 1)
            grad_edges = torch.addmm(-shift, hidden, affine)
            grad_edges.view(k, -1, len(shift)).scatter_add_(
                0, slot[None, part].long(), at_winners[None, part]
            )
            grad_weight2.addmm_(grad_edges.t(), hidden)
            grad_hidden = leaky_relu_backward(grad_edges @ weight2, hidden, slope)
            grad_v[part] = grad_hidden.view(k, -1, u.shape[1]).sum(0)
            grad_u.index_add_(0, columns[:, part].reshape(-1), grad_hidden)

        grad_beta1 = grad_v.sum(0)
        grad_gamma1 = ((grad_u * u).sum(0) + (grad_v * v).sum(0)) * inv_std1
        means1 = sum_over_ranks(torch.stack((grad_beta1, grad_gamma1)), ctx.synced) / count
        grad_u, grad_v = edge_norm_backward(grad_u, grad_v, u, v, idx, gamma1, inv_std1, means1)
        return (
            grad_u, grad_v, None, grad_gamma1, grad_beta1, grad_weight2, grad_gamma2, grad_beta2,
            None, None, None,
        )  # fmt: skip


def _shared_pivot(mean: Tensor, synced: bool) -> Tensor:
    """The same pivot on every rank: any value near the mean will do."""
    total = sum_over_ranks(torch.cat((mean, mean.new_ones(1))), synced)
    return total[:-1] / total[-1]
