"""The double edge convolution for GPUs; see :mod:`pointssl.ops.double_edge_conv` for the formulas.

Edges are computed, multiplied, compared and added to the statistics in registers; only points are
in memory. The gradients of the edges that end in a row are summed atomically, as in torch's
``index_add_`` on a GPU: their last digits vary from run to run.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from pointssl.ops import double_edge_conv as plain
from pointssl.ops.collectives import shared_mean
from pointssl.ops.double_edge_conv import run_backward, run_forward
from pointssl.ops.gpu.edge_kernels import edges_backward, edges_forward
from pointssl.ops.gpu.launching import (
    INTERPRETED,
    blocks,
    device_of,
    factor_type,
    power_of_two,
    sum_type,
)
from pointssl.ops.slots import slot_type

# Centres per program, by the width of its tiles: with 8 warps all tiles stay in the registers of an
# H100 (255 per thread), and the weights stay in shared memory.
CENTRES = {64: 64, 128: 32}
CENTRES_BACK = 32  # backward has four tiles; wider than 64 they don't fit
WARPS = 8
OUTER = 64  # columns of the second layer per program, forward
WIDEST, WIDEST_BACK = 128, 64  # channels
SAMPLE = 1024  # centres whose mean is the pivot
# "tf32x3" multiplies on tensor cores, with each factor split in two; it matches float32 except for
# the last digit. "ieee" uses ordinary instructions and needs more registers than there are. "tf32"
# is used if torch is allowed to use it as well.
PRECISION = "tf32x3"


def fits(u: Tensor, weight2: Tensor, train: bool = False) -> bool:
    """Return whether the kernels support these: not too wide, and float64 only interpreted."""
    types = [torch.float32] if train else [torch.float32, torch.bfloat16]
    return max(weight2.shape) <= WIDEST and (
        u.dtype in types or (INTERPRETED and u.dtype == torch.float64)
    )


def precision() -> str:
    """Return the precision in which float32 factors are multiplied."""
    return "tf32" if torch.backends.cuda.matmul.allow_tf32 else PRECISION


@torch.library.custom_op("pointssl::largest_edges", mutates_args=())
def _largest_edges(
    u: Tensor, v: Tensor, idx: Tensor, weight: Tensor, pivot: Tensor, slope: float, train: bool,
    exactness: str,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    (centres, k), (inner, outer) = idx.shape, weight.shape
    best = u.new_empty(centres, outer, dtype=_wide(u))
    slot = torch.empty_like(best if train else best[:0], dtype=slot_type(k))
    step = CENTRES[64 if inner <= 64 else 128]
    parts = blocks(centres, step)
    sums = best.new_empty((parts, 2, outer) if train else (0, 2, outer))
    width = power_of_two(min(outer, OUTER), 16)
    if centres:
        with device_of(u):
            edges_forward[(parts, blocks(outer, width))](
                u.contiguous(), v.contiguous(), idx.contiguous(), weight.contiguous(),
                pivot.contiguous(), best, slot, sums, centres, inner, outer, slope, K=k,
                TRAIN=train, PRECISION=exactness, WIDE=sum_type(u.dtype),
                FACTOR=factor_type(u.dtype), CENTRES=step, INNER=power_of_two(inner, 16),
                OUTER=width, num_warps=WARPS, num_stages=1,
            )  # fmt: skip
    return best, slot, sums.sum(0)


@_largest_edges.register_fake
def _(
    u: Tensor, v: Tensor, idx: Tensor, weight: Tensor, pivot: Tensor, slope: float, train: bool,
    exactness: str,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    best = u.new_empty(len(idx), weight.shape[1], dtype=_wide(u))
    slot = torch.empty_like(best if train else best[:0], dtype=slot_type(idx.shape[1]))
    return best, slot, best.new_empty(2, weight.shape[1])


@torch.library.custom_op("pointssl::edge_gradients", mutates_args=())
def _edge_gradients(
    u: Tensor, v: Tensor, idx: Tensor, slot: Tensor, at_winners: Tensor, affine: Tensor,
    shift: Tensor, weight2: Tensor, slope: float, exactness: str,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    (centres, k), (outer, inner) = idx.shape, weight2.shape
    grad_u = torch.zeros(u.shape, dtype=_wide(u), device=u.device)
    grad_v = grad_u.new_empty(v.shape)
    parts = blocks(centres, CENTRES_BACK)
    grad_weight = grad_u.new_empty(parts, outer, inner)
    if centres:
        with device_of(u):
            edges_backward[(parts,)](
                u.contiguous(), v.contiguous(), idx.contiguous(), slot.contiguous(),
                at_winners.contiguous(), affine.contiguous(), shift.contiguous(),
                weight2.contiguous(), grad_u, grad_v, grad_weight, centres, inner, outer, slope,
                K=k, PRECISION=exactness, WIDE=sum_type(u.dtype),
                FACTOR=factor_type(u.dtype), CENTRES=CENTRES_BACK, INNER=power_of_two(inner, 16),
                OUTER=power_of_two(outer, 16), num_warps=WARPS, num_stages=1,
            )  # fmt: skip
    return grad_u, grad_v, grad_weight.sum(0)


@_edge_gradients.register_fake
def _(
    u: Tensor, v: Tensor, idx: Tensor, slot: Tensor, at_winners: Tensor, affine: Tensor,
    shift: Tensor, weight2: Tensor, slope: float, exactness: str,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    grad_u = torch.empty(u.shape, dtype=_wide(u), device=u.device)
    return grad_u, grad_u.new_empty(v.shape), grad_u.new_empty(weight2.shape)


def _wide(u: Tensor) -> torch.dtype:
    return torch.float64 if u.dtype == torch.float64 else torch.float32


def double_edge_conv_frozen(
    u: Tensor, v: Tensor, idx: Tensor, weight2: Tensor, shift2: Tensor, slope: float
) -> Tensor:
    """See :func:`pointssl.ops.double_edge_conv.double_edge_conv_frozen`.

    ``u`` and ``v`` may be bfloat16; the factors of the product are then bfloat16, too.
    """
    weight = weight2.t().to(u.dtype)
    best, _, _ = _largest_edges(u, v, idx, weight, -shift2, slope, False, precision())
    return torch.nn.functional.leaky_relu(best, slope).to(u.dtype)


def winners(
    u: Tensor, v: Tensor, idx: Tensor, weight: Tensor, slope: float, synced: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """See :func:`pointssl.ops.double_edge_conv.winners`."""
    hidden = plain._hidden(u, v[:SAMPLE], idx[:SAMPLE].t(), slope).flatten(0, 1)
    pivot = shared_mean(hidden, synced) @ weight
    best, slot, sums = _largest_edges(u, v, idx, weight, pivot, slope, True, precision())
    return best, slot, pivot, sums


def gradients(
    u: Tensor, v: Tensor, idx: Tensor, slot: Tensor, at_winners: Tensor, weight2: Tensor,
    slant: Tensor, shift: Tensor, slope: float,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """See :func:`pointssl.ops.double_edge_conv.gradients`."""
    if max(weight2.shape) > WIDEST_BACK or torch.are_deterministic_algorithms_enabled():
        return plain.gradients(u, v, idx, slot, at_winners, weight2, slant, shift, slope)
    affine = (-slant[:, None] * weight2).t()
    return _edge_gradients(u, v, idx, slot, at_winners, affine, shift, weight2, slope, precision())


class DoubleEdgeConv(torch.autograd.Function):
    """Same interface as :class:`pointssl.ops.double_edge_conv.DoubleEdgeConv`."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, ...]:
        return run_forward(ctx, winners, *inputs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        return run_backward(ctx, gradients, grad_y)
