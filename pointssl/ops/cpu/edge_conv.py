"""The edge convolution for CPUs: training takes one pass over the edges forward, two backward.

See :mod:`pointssl.ops.edge_conv`. The edges ``e = u_j + v_i`` exist only in registers, where their
maximum, sum and sum of squares are computed in one pass. In the gradient of an edge,
``scale * (g - mean(g) - z * mean(g z))`` with the normalised value ``z``, the first term is nonzero
only at the edge that won the maximum; the others are one affine function of ``e`` for all edges.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from pointssl.ops.collectives import shared_mean, sum_over_ranks
from pointssl.ops.cpu import edges as loops
from pointssl.ops.cpu.gather import LANES
from pointssl.ops.cpu.threads import in_parallel
from pointssl.ops.edge_stats import leaky_relu_backward
from pointssl.ops.slots import slot_type


def edge_conv_frozen(uv: Tensor, idx: Tensor, shift: Tensor, slope: float) -> Tensor:
    """Compute ``leaky(max_j u_j + v_i + shift) (R, O)``, in evaluation mode with the norm folded
    into the weights."""
    y = uv.new_empty(len(idx), len(shift))
    arrays = (uv.contiguous(), idx.contiguous(), shift)
    in_parallel(loops.largest, len(idx), *(array.numpy() for array in arrays), slope, y.numpy())
    return y


class EdgeConv(torch.autograd.Function):
    """Edge convolution in training mode, for centres that are the points themselves.

    Maps ``uv (R, 2 O)`` to the output ``(R, O)``, the edges' mean and variance ``(O,)``, and their
    number.
    """

    @staticmethod
    def forward(
        ctx: Any, uv: Tensor, idx: Tensor, gamma: Tensor, beta: Tensor, eps: float, slope: float,
        synced: bool,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
        uv, idx = uv.contiguous(), idx.contiguous()
        near = shared_mean(uv, synced)
        pivot = near[: len(gamma)] + near[len(gamma) :]  # any value close to the mean works
        best = uv.new_empty(len(idx), len(gamma))
        slot = torch.empty_like(best, dtype=slot_type(idx.shape[1]))
        sums = torch.zeros(loops.CHUNKS, 2, len(gamma), dtype=torch.float64)
        arrays = (uv, idx, pivot, gamma.detach(), best, slot, sums)
        in_parallel(loops.winners_and_sums, loops.CHUNKS, *(array.numpy() for array in arrays))
        edges = sums.new_full((1, len(gamma)), idx.numel())
        total = sum_over_ranks(torch.cat((sums.sum(0), edges)), synced)
        first, second = total[:2] / total[2, 0]
        var = (second - first.square()).clamp_min(0).to(uv.dtype)
        first = first.to(uv.dtype)
        inv_std = (var + eps).rsqrt()
        winner = best.sub_(first).mul_(inv_std)  # normalised
        y = F.leaky_relu_(torch.addcmul(beta, winner, gamma), slope)
        mean, count = pivot + first, total[2, 0].to(uv.dtype)
        near[len(gamma) :] += first
        ctx.save_for_backward(uv, idx, slot, winner, y, gamma, inv_std, near, count)
        ctx.slope, ctx.synced = slope, synced
        ctx.mark_non_differentiable(mean, var, count)
        return y, mean, var, count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        uv, idx, slot, winner, y, gamma, inv_std, mean, count = ctx.saved_tensors
        grad = leaky_relu_backward(grad_y, y, ctx.slope).contiguous()
        grad_beta, grad_gamma = grad.sum(0), (grad * winner).sum(0)
        means = sum_over_ranks(torch.stack((grad_beta, grad_gamma)), ctx.synced) / count
        scale = gamma * inv_std
        slant = scale * inv_std * means[1]
        offset = scale * means[0]
        grad_uv = torch.zeros_like(uv)
        shared = [array.numpy() for array in (mean, grad, scale, offset, slant, grad_uv)]
        in_parallel(loops.centre_gradients, len(idx), uv.numpy(), idx.numpy(), *shared)
        channels = len(gamma)
        in_parallel(
            loops.neighbour_gradients, -(-channels // LANES), LANES, channels, uv.numpy(),
            idx.numpy(), slot.numpy(), *shared,
        )  # fmt: skip
        return grad_uv, None, grad_gamma, grad_beta, None, None, None
