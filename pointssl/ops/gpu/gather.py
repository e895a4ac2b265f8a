"""Maxima and sums over neighbours on GPUs, and their transposes, each in one pass.

See :mod:`pointssl.ops.gather` for their definitions. There are no atomic additions: the transposes
sum, for each row, over the edges that end in it (:func:`edges_by_row`), so results are the same
from run to run.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from pointssl.ops.gpu.launching import blocks, device_of, power_of_two, sum_type
from pointssl.ops.slots import slot_type

# Channels per program; a warp reads a row's channels contiguously.
CHANNELS = 128
CENTRES = 16  # per program: 16 x 128 numbers are 16 registers for each of its 128 threads
EDGES = 16  # edges of a row that are loaded together; a row has about k = 20 of them

# The edges sorted by the row they end in, and the first edge of each row.
Graph = tuple[Tensor, Tensor]


def edges_by_row(idx: Tensor, rows: int) -> Graph:
    """Sort the edges ``q * K + j`` of ``idx (Q, K)`` by the rows they end in, ``(Q*K,)``, and
    return the first edge of each row, ``(rows + 1,)``.

    The result serves all sums over one ``idx``: compute it once and pass it on.
    """
    ends, order = torch.sort(idx.reshape(-1).int(), stable=True)
    return order, torch.searchsorted(ends, torch.arange(rows + 1, device=idx.device).int())


@triton.jit
def _over_neighbours(
    values, idx, best, slot, total, weight, centres, channels, K: tl.constexpr,
    MAX: tl.constexpr, SUM: tl.constexpr, WEIGHTED: tl.constexpr, WIDE: tl.constexpr,
    CENTRES: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    q = tl.program_id(0).to(tl.int64) * CENTRES + tl.arange(0, CENTRES)
    c = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    real = q < centres
    mask = real[:, None] & (c < channels)[None, :]
    top = tl.full((CENTRES, CHANNELS), float("-inf"), WIDE)
    which = tl.zeros((CENTRES, CHANNELS), tl.int32)
    added = tl.zeros((CENTRES, CHANNELS), WIDE)
    for j in range(K):
        row = tl.load(idx + q * K + j, mask=real, other=0).to(tl.int64)
        new = tl.load(values + row[:, None] * channels + c[None, :], mask=mask, other=0.0).to(WIDE)
        if MAX:
            better = (new > top) | (new != new)  # propagates NaN
            top = tl.where(better, new, top)
            which = tl.where(better, j, which)
        if WEIGHTED:
            new = new * tl.load(weight + q * K + j, mask=real, other=0.0).to(WIDE)[:, None]
        if SUM:
            added += new
    at = q[:, None] * channels + c[None, :]
    if MAX:
        tl.store(best + at, top.to(best.dtype.element_ty), mask=mask)
        tl.store(slot + at, which.to(slot.dtype.element_ty), mask=mask)
    if SUM:
        tl.store(total + at, added.to(total.dtype.element_ty), mask=mask)


@triton.jit
def _over_edges(
    values, order, starts, slot, weight, out, channels, K: tl.constexpr,
    WINNERS: tl.constexpr, WEIGHTED: tl.constexpr, WIDE: tl.constexpr,
    EDGES: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    c = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    first = tl.load(starts + row)
    last = tl.load(starts + row + 1)
    added = tl.zeros((CHANNELS,), WIDE)
    for begin in range(first, last, EDGES):
        place = begin + tl.arange(0, EDGES)
        real = place < last
        edge = tl.load(order + place, mask=real, other=0).to(tl.int64)
        at = (edge // K)[:, None] * channels + c[None, :]
        mask = real[:, None] & (c < channels)[None, :]
        if WINNERS:
            won = tl.load(slot + at, mask=mask, other=0).to(tl.int32)
            mask = mask & (won == (edge % K).to(tl.int32)[:, None])
        new = tl.load(values + at, mask=mask, other=0.0).to(WIDE)
        if WEIGHTED:
            new = new * tl.load(weight + edge, mask=real, other=0.0).to(WIDE)[:, None]
        added += tl.sum(new, axis=0)
    tl.store(out + row * channels + c, added.to(out.dtype.element_ty), mask=c < channels)


def _forward(
    values: Tensor,
    idx: Tensor,
    weight: Tensor | None = None,
    max_: bool = False,
    sum_: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the maximum, its index among the K, and the (weighted) sum; those that are not
    requested are empty."""
    (centres, k), channels = idx.shape, values.shape[1]
    values, idx = values.contiguous(), idx.contiguous()
    best = values.new_empty((centres, channels) if max_ else (0, channels))
    slot = torch.empty_like(best, dtype=slot_type(k))
    total = values.new_empty((centres, channels) if sum_ else (0, channels))
    width = power_of_two(min(channels, CHANNELS), 16)
    grid = (blocks(centres, CENTRES), blocks(channels, width))
    if centres and channels:
        with device_of(values):
            _over_neighbours[grid](
                values, idx, best, slot, total, values if weight is None else weight.contiguous(),
                centres, channels, K=k, MAX=max_, SUM=sum_, WEIGHTED=weight is not None,
                WIDE=sum_type(values.dtype), CENTRES=CENTRES, CHANNELS=width,
            )  # fmt: skip
    return best, slot, total


def _backward(
    values: Tensor, k: int, rows: int, graph: Graph,
    slot: Tensor | None = None, weight: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Sum, for each row, over the edges that end in it."""
    channels = values.shape[1]
    values = values.contiguous()
    out = values.new_empty(rows, channels)
    width = power_of_two(min(channels, CHANNELS), 16)
    if rows and channels:
        with device_of(values):
            _over_edges[(rows, blocks(channels, width))](
                values, graph[0], graph[1], values if slot is None else slot.contiguous(),
                values if weight is None else weight.contiguous(), out, channels, K=k,
                WINNERS=slot is not None, WEIGHTED=weight is not None,
                WIDE=sum_type(values.dtype), EDGES=EDGES, CHANNELS=width, num_warps=2,
            )  # fmt: skip
    return out


@torch.library.custom_op("pointssl::neighbour_max", mutates_args=())
def neighbour_max(values: Tensor, idx: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the maximum and its index among the K: ``(R, C)`` and ``(Q, K)`` to twice ``(Q,
    C)``."""
    return _forward(values, idx, max_=True)[:2]


def neighbour_max_only(values: Tensor, idx: Tensor) -> Tensor:
    """Compute the maximum alone; its index costs almost nothing."""
    return neighbour_max(values, idx)[0]


@torch.library.custom_op("pointssl::neighbour_max_and_sum", mutates_args=())
def neighbour_max_and_sum(values: Tensor, idx: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Compute :func:`neighbour_max` and :func:`neighbour_sum` in one pass, each ``(Q, C)``."""
    return _forward(values, idx, max_=True, sum_=True)


@torch.library.custom_op("pointssl::neighbour_sum", mutates_args=())
def neighbour_sum(values: Tensor, idx: Tensor) -> Tensor:
    """Sum the values of each centre's neighbours: ``(R, C)`` and ``(Q, K)`` to ``(Q, C)``."""
    return _forward(values, idx, sum_=True)[2]


@torch.library.custom_op("pointssl::weighted_sum", mutates_args=())
def weighted_sum(values: Tensor, idx: Tensor, weight: Tensor) -> Tensor:
    """Compute ``sum_j weight[q, j] values[idx[q, j]]``: ``(R, C)`` and twice ``(Q, K)`` to ``(Q,
    C)``."""
    return _forward(values, idx, weight, sum_=True)[2]


@torch.library.custom_op("pointssl::to_winners", mutates_args=())
def _to_winners(grad: Tensor, slot: Tensor, order: Tensor, starts: Tensor, k: int) -> Tensor:
    return _backward(grad, k, len(starts) - 1, (order, starts), slot=slot)


@torch.library.custom_op("pointssl::reverse_sum", mutates_args=())
def _reverse_sum(
    values: Tensor, order: Tensor, starts: Tensor, k: int, weight: Tensor | None = None
) -> Tensor:
    return _backward(values, k, len(starts) - 1, (order, starts), weight=weight)


def to_winners(
    grad: Tensor, idx: Tensor, slot: Tensor, rows: int, graph: Graph | None = None
) -> Tensor:
    """Add the gradients ``(Q, C)`` of the maxima to the rows that won: ``(rows, C)``."""
    order, starts = edges_by_row(idx, rows) if graph is None else graph
    return _to_winners(grad, slot, order, starts, idx.shape[1])


def reverse_neighbour_sum(
    values: Tensor, idx: Tensor, rows: int | None = None, graph: Graph | None = None
) -> Tensor:
    """Sum the ``values (Q, C)`` of the centres that have each row as a neighbour: ``(rows, C)``."""
    rows = len(values) if rows is None else rows
    order, starts = edges_by_row(idx, rows) if graph is None else graph
    return _reverse_sum(values, order, starts, idx.shape[1])


def in_degree(idx: Tensor, rows: int, dtype: torch.dtype) -> Tensor:
    """Count how often each row is a neighbour, ``(rows,)``.

    The order of additions does not matter for integers. Unlike :func:`torch.bincount`, whose size
    the host must read, this does not synchronise.
    """
    ends = idx.reshape(-1)
    count = torch.zeros(rows, dtype=torch.int32, device=idx.device)
    return count.index_add_(0, ends, torch.ones_like(ends, dtype=torch.int32)).to(dtype)


# Registrations for torch.compile and autograd.


@neighbour_max.register_fake
def _(values: Tensor, idx: Tensor) -> tuple[Tensor, Tensor]:
    best = values.new_empty(len(idx), values.shape[1])
    return best, torch.empty_like(best, dtype=slot_type(idx.shape[1]))


@neighbour_max_and_sum.register_fake
def _(values: Tensor, idx: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    best = values.new_empty(len(idx), values.shape[1])
    return best, torch.empty_like(best, dtype=slot_type(idx.shape[1])), torch.empty_like(best)


@neighbour_sum.register_fake
def _(values: Tensor, idx: Tensor) -> Tensor:
    return values.new_empty(len(idx), values.shape[1])


@weighted_sum.register_fake
def _(values: Tensor, idx: Tensor, weight: Tensor) -> Tensor:
    return values.new_empty(len(idx), values.shape[1])


@_to_winners.register_fake
def _(grad: Tensor, slot: Tensor, order: Tensor, starts: Tensor, k: int) -> Tensor:
    return grad.new_empty(len(starts) - 1, grad.shape[1])


@_reverse_sum.register_fake
def _(
    values: Tensor, order: Tensor, starts: Tensor, k: int, weight: Tensor | None = None
) -> Tensor:
    return values.new_empty(len(starts) - 1, values.shape[1])


def _keep(ctx, inputs, output):  # type: ignore[no-untyped-def]
    ctx.rows = len(inputs[0])
    ctx.save_for_backward(*inputs[1:], *([output[1]] if isinstance(output, tuple) else []))
    if isinstance(output, tuple):
        ctx.mark_non_differentiable(output[1])


def _grad_max(ctx, grad, _):  # type: ignore[no-untyped-def]
    idx, slot = ctx.saved_tensors
    return to_winners(grad, idx, slot, ctx.rows), None


def _grad_max_and_sum(ctx, grad, _, grad_sum):  # type: ignore[no-untyped-def]
    idx, slot = ctx.saved_tensors
    graph = edges_by_row(idx, ctx.rows)
    through_sum = reverse_neighbour_sum(grad_sum, idx, ctx.rows, graph)
    return to_winners(grad, idx, slot, ctx.rows, graph) + through_sum, None


def _grad_sum(ctx, grad):  # type: ignore[no-untyped-def]
    (idx,) = ctx.saved_tensors
    return reverse_neighbour_sum(grad, idx, ctx.rows), None


def _keep_weighted(ctx, inputs, output):  # type: ignore[no-untyped-def]
    ctx.save_for_backward(*inputs)


def _grad_weighted(ctx, grad):  # type: ignore[no-untyped-def]
    values, idx, weight = ctx.saved_tensors
    grad_values = grad_weight = None
    if ctx.needs_input_grad[0]:
        grad_values = _reverse_sum(grad, *edges_by_row(idx, len(values)), idx.shape[1], weight)
    if ctx.needs_input_grad[2]:
        columns = [(values[row] * grad).sum(1) for row in idx.unbind(1)]
        grad_weight = torch.stack(columns, dim=1).to(weight.dtype)
    return grad_values, None, grad_weight


neighbour_max.register_autograd(_grad_max, setup_context=_keep)
neighbour_max_and_sum.register_autograd(_grad_max_and_sum, setup_context=_keep)
neighbour_sum.register_autograd(_grad_sum, setup_context=_keep)
weighted_sum.register_autograd(_grad_weighted, setup_context=_keep_weighted)
