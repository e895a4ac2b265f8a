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
from pointssl.ops.edge_stats import center_and_var, edge_norm_backward
from pointssl.ops.gather import BLOCK


def _step(values: Tensor, k: int) -> int:
    """Rows per block: small enough for a CPU's cache, larger where memory is fast."""
    block = BLOCK if values.device.type == "cpu" else 32 * BLOCK
    return max(1, block // (k * values.shape[1]))


def _edges(u: Tensor, v: Tensor, idx: Tensor) -> Tensor:
    """``u_j + v_i`` for a block of rows: ``(rows, K, O)``."""
    return u[idx.reshape(-1)].view(*idx.shape, -1).add_(v[:, None])


def double_edge_conv_frozen(
    u: Tensor, v: Tensor, idx: Tensor, weight2: Tensor, shift2: Tensor, slope: float
) -> Tensor:
    """Evaluation mode, norms folded in: ``max_j leaky(W2 leaky(u_j + v_i) + b)``, ``(R, P)``."""
    step = _step(u, idx.shape[1])
    blocks = []
    for start in range(0, idx.shape[0], step):
        part = slice(start, start + step)
        hidden = F.leaky_relu(_edges(u, v[part], idx[part]), slope)
        blocks.append(F.linear(hidden, weight2).amax(dim=1))
    return F.leaky_relu(torch.cat(blocks) + shift2, slope)


class DoubleEdgeConv(torch.autograd.Function):
    """Training mode: both norms over all edges; only points are kept for backward."""

    @staticmethod
    def forward(
        ctx: Any, uv: Tensor, idx: Tensor, gamma1: Tensor, beta1: Tensor, weight2: Tensor,
        gamma2: Tensor, beta2: Tensor, eps: tuple[float, float], slope: float, synced: bool,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
        u, v, mean1, var1, count = center_and_var(uv, idx, synced)
        inv_std1 = (var1 + eps[0]).rsqrt()
        scale1 = gamma1 * inv_std1
        scaled_u, scaled_v = u * scale1, torch.addcmul(beta1, v, scale1)
        sign = torch.where(gamma2 >= 0, 1.0, -1.0).to(uv.dtype)
        signed2 = weight2 * sign[:, None]

        rows, k = idx.shape
        step = _step(u, k)
        best = uv.new_empty(rows, weight2.shape[0])
        source = torch.empty_like(best, dtype=torch.int16)  # which of the K neighbours won
        # The variance is summed about the mean of the first block: no cancellation.
        pivot: Tensor | None = None
        sums = uv.new_zeros(2, weight2.shape[0])
        for start in range(0, rows, step):
            part = slice(start, start + step)
            hidden = F.leaky_relu_(_edges(scaled_u, scaled_v[part], idx[part]), slope)
            edges = F.linear(hidden, signed2)
            if pivot is None:
                pivot = _shared_pivot(edges.mean((0, 1)), synced)
            best[part], winner = edges.max(dim=1)
            source[part] = winner
            off = edges.sub_(pivot).flatten(0, 1)
            sums[0] += off.sum(0)
            sums[1] += torch.linalg.vector_norm(off, dim=0).square_()
        assert pivot is not None
        first, second = sum_over_ranks(sums, synced) / count
        mean2, var2 = pivot + first, second - first.square()
        inv_std2 = (var2 + eps[1]).rsqrt()
        winner2 = (best - mean2) * inv_std2 * sign
        mean2 = mean2 * sign
        y = torch.addcmul(beta2, winner2, gamma2)
        ctx.save_for_backward(
            u, v, idx, gamma1, beta1, weight2, gamma2, beta2, inv_std1, inv_std2, mean2,
            winner2, source, count,
        )  # fmt: skip
        ctx.slope, ctx.synced = slope, synced
        ctx.mark_non_differentiable(mean1, var1, mean2, var2, count)
        return F.leaky_relu_(y, slope), mean1, var1, mean2, var2, count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        (
            u, v, idx, gamma1, beta1, weight2, gamma2, beta2, inv_std1, inv_std2, mean2,
            winner2, source, count,
        ) = ctx.saved_tensors  # fmt: skip
        slope = ctx.slope
        grad = torch.where(winner2 * gamma2 + beta2 > 0, grad_y, grad_y * slope)
        grad_beta2, grad_gamma2 = grad.sum(0), (grad * winner2).sum(0)
        means2 = sum_over_ranks(torch.stack((grad_beta2, grad_gamma2)), ctx.synced) / count

        # The gradient of an edge e = W2 h before norm 2 is a sparse part (the winners) minus
        # `shift + e * slant`, so that of h is sparse @ W2 - h @ quadratic - constant.
        scale2 = gamma2 * inv_std2
        slant = scale2 * inv_std2 * means2[1]
        shift = scale2 * means2[0] - slant * mean2
        quadratic = weight2.t() @ (slant[:, None] * weight2)
        constant = shift @ weight2
        sparse = scale2 * grad

        scale1 = gamma1 * inv_std1
        scaled_u, scaled_v = u * scale1, torch.addcmul(beta1, v, scale1)
        grad_weight2 = torch.zeros_like(weight2)
        hidden_square = torch.zeros_like(quadratic)
        hidden_sum = torch.zeros_like(constant)
        grad_u, grad_v = torch.zeros_like(u), torch.empty_like(v)
        rows, k = idx.shape
        step = _step(u, k)
        for start in range(0, rows, step):
            part = slice(start, start + step)
            edges = _edges(scaled_u, scaled_v[part], idx[part]).flatten(0, 1)
            hidden = F.leaky_relu(edges, slope)
            winners = sparse.new_zeros(len(idx[part]), k, sparse.shape[1])
            winners.scatter_(1, source[part].long()[:, None], sparse[part][:, None])
            winners = winners.flatten(0, 1)
            grad_weight2.addmm_(winners.t(), hidden)
            hidden_square.addmm_(hidden.t(), hidden)
            hidden_sum += hidden.sum(0)
            grad_hidden = torch.addmm(-constant, hidden, quadratic, alpha=-1).addmm_(
                winners, weight2
            )
            grad_edges = torch.where(edges > 0, grad_hidden, grad_hidden * slope)
            grad_v[part] = grad_edges.view(-1, k, u.shape[1]).sum(1)
            grad_u.index_add_(0, idx[part].reshape(-1), grad_edges)
        grad_weight2 -= slant[:, None] * (weight2 @ hidden_square) + torch.outer(shift, hidden_sum)

        grad_beta1 = grad_v.sum(0)
        grad_gamma1 = ((grad_u * u).sum(0) + (grad_v * v).sum(0)) * inv_std1
        means1 = sum_over_ranks(torch.stack((grad_beta1, grad_gamma1)), ctx.synced) / count
        grad_uv = edge_norm_backward(grad_u, grad_v, u, v, idx, gamma1, inv_std1, means1)
        return (
            grad_uv, None, grad_gamma1, grad_beta1, grad_weight2, grad_gamma2, grad_beta2,
            None, None, None,
        )  # fmt: skip


def _shared_pivot(mean: Tensor, synced: bool) -> Tensor:
    """The same pivot on every rank: any value near the mean will do."""
    total = sum_over_ranks(torch.cat((mean, mean.new_ones(1))), synced)
    return total[:-1] / total[-1]
