"""The double edge convolution for CPUs: matrix products over blocks of edges, compiled loops.

Backward needs two products over the edges where the textbook needs three wider ones. The gradient
of an edge ``e = W2 h`` through the second norm is that of the winners, and an affine function of
``e`` itself, ``-shift - slant * e``. So of the gradient of ``h`` the second part is
``-W2' shift - (W2' diag(slant) W2) h``, one product with an O x O matrix, and that of ``W2`` is
``-shift (sum h)' - diag(slant) W2 (sum h h')``, one Gram matrix. The winners are few: one edge in K
for each channel.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from pointssl.ops.collectives import shared_mean, sum_over_ranks
from pointssl.ops.cpu import double_edges as loops
from pointssl.ops.cpu.gather import LANES
from pointssl.ops.cpu.threads import in_parallel
from pointssl.ops.edge_stats import center_and_var, edge_norm_backward, leaky_relu_backward
from pointssl.ops.gather import slot_type

BLOCK = 1 << 20  # numbers of a block of edges


class _Blocks:
    """A block of centres after the other: its rows, neighbours and ``hidden``, in one buffer."""

    def __init__(self, u: Tensor, v: Tensor, idx: Tensor, slope: float, widest: int) -> None:
        self.u, self.v, self.idx, self.slope = u.contiguous(), v.contiguous(), idx, slope
        self.step = max(1, BLOCK // (idx.shape[1] * widest))
        self.hidden = u.new_empty(min(self.step, len(idx)) * idx.shape[1], u.shape[1])

    def __iter__(self) -> Any:
        for start in range(0, len(self.idx), self.step):
            part = slice(start, start + self.step)
            idx = self.idx[part]
            hidden = self.hidden[: idx.numel()]
            arrays = (self.u.numpy(), self.v[part].numpy(), idx.numpy(), self.slope)
            in_parallel(loops.fill_hidden, len(idx), *arrays, hidden.numpy())
            yield part, idx, hidden


def double_edge_conv_frozen(
    u: Tensor, v: Tensor, idx: Tensor, weight2: Tensor, shift2: Tensor, slope: float
) -> Tensor:
    """See :func:`pointssl.ops.double_edge_conv.double_edge_conv_frozen`."""
    y = u.new_empty(len(idx), len(weight2))
    blocks = _Blocks(u, v, idx.contiguous(), slope, max(weight2.shape))
    edges = u.new_empty(len(blocks.hidden), len(weight2))
    for part, rows, hidden in blocks:
        found = torch.mm(hidden, weight2.t(), out=edges[: len(hidden)])
        arrays = (found.numpy(), shift2.numpy(), slope, y[part].numpy())
        in_parallel(loops.largest_edges, len(rows), *arrays)
    return y


class DoubleEdgeConv(torch.autograd.Function):
    """See :class:`pointssl.ops.double_edge_conv.DoubleEdgeConv`: the same arguments and results."""

    @staticmethod
    def forward(
        ctx: Any, u: Tensor, v: Tensor, idx: Tensor, gamma1: Tensor, beta1: Tensor,
        weight2: Tensor, gamma2: Tensor, beta2: Tensor, eps: tuple[float, float], slope: float,
        synced: bool,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
        idx = idx.contiguous()
        u, v, mean1, var1, count = center_and_var(u, v, idx, synced)
        inv_std1 = (var1 + eps[0]).rsqrt()
        scale1 = gamma1 * inv_std1
        blocks = _Blocks(
            u * scale1, torch.addcmul(beta1, v, scale1), idx, slope, max(weight2.shape)
        )
        sign = torch.where(gamma2 >= 0, 1.0, -1.0).to(u.dtype)  # the minimum, where negative
        signed2 = (weight2 * sign[:, None]).t()
        best = u.new_empty(len(idx), len(weight2))
        slot = torch.empty_like(best, dtype=slot_type(idx.shape[1]))
        edges = u.new_empty(len(blocks.hidden), len(weight2))
        sums = torch.zeros(loops.CHUNKS, 2, len(weight2), dtype=torch.float64)
        # All edges are taken relative to the mean of the first block: their squares cancel less.
        pivot: Tensor | None = None
        for part, _, hidden in blocks:
            found = torch.mm(hidden, signed2, out=edges[: len(hidden)])
            if pivot is None:
                pivot = shared_mean(found, synced)
            arrays = (found, pivot, best[part], slot[part], sums)
            in_parallel(loops.winners_and_sums, loops.CHUNKS, *(each.numpy() for each in arrays))
        assert pivot is not None
        first, second = (sum_over_ranks(sums.sum(0), synced) / count).to(u.dtype)
        var2 = second - first.square()
        inv_std2 = (var2 + eps[1]).rsqrt()
        winner2 = best.sub_(first).mul_(inv_std2 * sign)
        mean2 = (pivot + first) * sign
        y = torch.nn.functional.leaky_relu_(torch.addcmul(beta2, winner2, gamma2), slope)
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
        scale2 = gamma2 * inv_std2
        slant = scale2 * inv_std2 * means2[1]
        shift = scale2 * means2[0] - slant * mean2
        at_winners = (scale2 * grad).contiguous()
        weight2 = weight2.contiguous()
        square = weight2.t() @ (-slant[:, None] * weight2)
        bias = -(shift @ weight2)

        scale1 = gamma1 * inv_std1
        scaled_v = torch.addcmul(beta1, v, scale1)
        blocks = _Blocks(u * scale1, scaled_v, idx, slope, max(weight2.shape))
        changes = torch.empty_like(blocks.hidden)
        channels = u.shape[1]
        gram, total = u.new_zeros(channels, channels), u.new_zeros(channels)
        grad_weight2 = torch.zeros_like(weight2)
        grad_u, grad_v = torch.zeros_like(u), torch.empty_like(v)
        for part, rows, hidden in blocks:
            gram.addmm_(hidden.t(), hidden)
            change = torch.mm(hidden, square, out=changes[: len(hidden)])
            won = (hidden.numpy(), slot[part].numpy(), at_winners[part].numpy())
            in_parallel(
                loops.finish_hidden_gradient, len(rows), *won, weight2.numpy(), bias.numpy(), slope,
                change.numpy(), grad_v[part].numpy(),
            )  # fmt: skip
            in_parallel(
                loops.scatter_gradients, -(-channels // LANES), LANES, channels, *won, rows.numpy(),
                change.numpy(), grad_weight2.numpy(), grad_u.numpy(), total.numpy(),
            )  # fmt: skip
        grad_weight2 -= torch.outer(shift, total) + slant[:, None] * (weight2 @ gram)

        grad_beta1 = grad_v.sum(0)
        grad_gamma1 = ((grad_u * u).sum(0) + (grad_v * v).sum(0)) * inv_std1
        means1 = sum_over_ranks(torch.stack((grad_beta1, grad_gamma1)), ctx.synced) / count
        grad_u, grad_v = edge_norm_backward(grad_u, grad_v, u, v, idx, gamma1, inv_std1, means1)
        return (
            grad_u, grad_v, None, grad_gamma1, grad_beta1, grad_weight2, grad_gamma2, grad_beta2,
            None, None, None,
        )  # fmt: skip
