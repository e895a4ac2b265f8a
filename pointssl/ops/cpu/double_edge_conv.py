"""The double edge convolution for CPUs: matrix products over blocks of edges and compiled loops.

Backward needs two products over the edges, where the textbook version needs three wider ones. The
gradient of an edge ``e = W2 h`` through the second norm is the sum of a gradient at the edges that
won the maximum and an affine function of ``e``, ``-shift - slant * e``. The affine part adds
``-W2' shift - (W2' diag(slant) W2) h`` to the gradient of ``h``, one product with an O x O matrix,
and ``-shift (sum h)' - diag(slant) W2 (sum h h')`` to the gradient of ``W2``, one Gram matrix. The
winners are sparse: one edge in K for each channel.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from pointssl.ops.collectives import shared_mean
from pointssl.ops.cpu import double_edges as loops
from pointssl.ops.cpu.gather import LANES
from pointssl.ops.cpu.threads import in_parallel
from pointssl.ops.double_edge_conv import run_backward, run_forward
from pointssl.ops.slots import slot_type

BLOCK = 1 << 20  # numbers per block of edges


class _Blocks:
    """Iterates over blocks of centres: their rows, neighbours and ``hidden``, in a reused
    buffer."""

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
        products = torch.mm(hidden, weight2.t(), out=edges[: len(hidden)])
        arrays = (products.numpy(), shift2.numpy(), slope, y[part].numpy())
        in_parallel(loops.largest_edges, len(rows), *arrays)
    return y


def winners(
    u: Tensor, v: Tensor, idx: Tensor, weight: Tensor, slope: float, synced: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """See :func:`pointssl.ops.double_edge_conv.winners`."""
    outputs = weight.shape[1]
    blocks = _Blocks(u, v, idx.contiguous(), slope, max(weight.shape))
    best = u.new_empty(len(idx), outputs)
    slot = torch.empty_like(best, dtype=slot_type(idx.shape[1]))
    edges = u.new_empty(len(blocks.hidden), outputs)
    sums = torch.zeros(loops.CHUNKS, 2, outputs, dtype=torch.float64)
    pivot: Tensor | None = None
    for part, _, hidden in blocks:
        products = torch.mm(hidden, weight, out=edges[: len(hidden)])
        if pivot is None:
            pivot = shared_mean(products, synced)
        arrays = (products, pivot, best[part], slot[part], sums)
        in_parallel(loops.winners_and_sums, loops.CHUNKS, *(each.numpy() for each in arrays))
    assert pivot is not None
    return best, slot, pivot, sums.sum(0)


def gradients(
    u: Tensor, v: Tensor, idx: Tensor, slot: Tensor, at_winners: Tensor, weight2: Tensor,
    slant: Tensor, shift: Tensor, slope: float,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """See :func:`pointssl.ops.double_edge_conv.gradients`."""
    at_winners, weight2 = at_winners.contiguous(), weight2.contiguous()
    square = weight2.t() @ (-slant[:, None] * weight2)
    bias = -(shift @ weight2)
    blocks = _Blocks(u, v, idx.contiguous(), slope, max(weight2.shape))
    changes = torch.empty_like(blocks.hidden)
    channels = u.shape[1]
    gram, total = u.new_zeros(channels, channels), u.new_zeros(channels)
    grad_weight2 = torch.zeros_like(weight2)
    grad_u, grad_v = torch.zeros_like(u), torch.empty_like(v)
    for part, rows, hidden in blocks:
        gram.addmm_(hidden.t(), hidden)
        change = torch.mm(hidden, square, out=changes[: len(hidden)])
        inputs = (hidden.numpy(), slot[part].numpy(), at_winners[part].numpy())
        in_parallel(
            loops.finish_hidden_gradient, len(rows), *inputs, weight2.numpy(), bias.numpy(), slope,
            change.numpy(), grad_v[part].numpy(),
        )  # fmt: skip
        in_parallel(
            loops.scatter_gradients, -(-channels // LANES), LANES, channels, *inputs, rows.numpy(),
            change.numpy(), grad_weight2.numpy(), grad_u.numpy(), total.numpy(),
        )  # fmt: skip
    grad_weight2 -= torch.outer(shift, total) + slant[:, None] * (weight2 @ gram)
    return grad_u, grad_v, grad_weight2


class DoubleEdgeConv(torch.autograd.Function):
    """Same interface as :class:`pointssl.ops.double_edge_conv.DoubleEdgeConv`."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, ...]:
        return run_forward(ctx, winners, *inputs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        return run_backward(ctx, gradients, grad_y)
