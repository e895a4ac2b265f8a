"""Sums and maxima over neighbours, without the tensor (rows, K, channels) of all edges.

The R rows are the points of all clouds, concatenated. Each of Q centres, which may be the same
points or others, has K neighbours; ``idx (Q, K)`` holds their row numbers.
"""

from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from pointssl.ops.backends import backend_for
from pointssl.ops.slots import slot_type

BLOCK = 1 << 20  # numbers per gathered block, which then stays in a core's cache
INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}  # by the size of a float, in bytes


def kernels(*tensors: Tensor) -> ModuleType | None:
    """Return the module whose kernels run this file's operations; None for plain torch."""
    backend = backend_for(*tensors)
    if backend == "numba":
        from pointssl.ops.cpu import gather as compiled

        return compiled
    if backend == "triton":
        from pointssl.ops.gpu import gather as fused

        return fused
    return None


def flat_index(idx: Tensor, points: int | None = None) -> Tensor:
    """Convert indices ``(B, M, K)`` within clouds of N ``points`` (default M) to row numbers
    ``(B*M, K)``."""
    clouds, centres, k = idx.shape
    offset = torch.arange(clouds, device=idx.device) * (centres if points is None else points)
    return (idx + offset[:, None, None]).reshape(clouds * centres, k)


def take_rows(values: Tensor, idx: Tensor) -> Tensor:
    """Gather rows by their index within each cloud: ``(B, N, C)`` and ``(B, ...)`` to
    ``(B, ..., C)``."""
    clouds, points, channels = values.shape
    offset = torch.arange(clouds, device=idx.device).view(-1, *(1,) * (idx.dim() - 1)) * points
    return rows_of(values.reshape(clouds * points, channels), idx + offset)


def rows_of(values: Tensor, idx: Tensor) -> Tensor:
    """Gather rows by number: ``(R, C)`` and ``(...)`` to ``(..., C)``."""
    return values.index_select(0, idx.reshape(-1)).view(*idx.shape, values.shape[1])


def neighbour_sum(values: Tensor, idx: Tensor) -> Tensor:
    """Sum the values of each centre's neighbours: ``(R, C)`` and ``(Q, K)`` to ``(Q, C)``."""
    if backend_for(values) == "triton":
        from pointssl.ops.gpu.gather import neighbour_sum as fused

        return fused(values, idx)
    return F.embedding_bag(idx, values, mode="sum")


def in_degree(idx: Tensor, rows: int, dtype: torch.dtype) -> Tensor:
    """Count how often each row is a neighbour, ``(rows,)``."""
    if backend_for(idx) == "triton":
        from pointssl.ops.gpu.gather import in_degree as fused

        return fused(idx, rows, dtype)
    return torch.bincount(idx.reshape(-1), minlength=rows).to(dtype)


def reverse_neighbour_sum(values: Tensor, idx: Tensor, rows: int | None = None) -> Tensor:
    """Sum, for each of R ``rows`` (default Q), the values of the centres that have it as a
    neighbour: ``(Q, C)`` and ``(Q, K)`` to ``(R, C)``, the transpose of :func:`neighbour_sum`."""
    fast = kernels(values)
    if fast is not None:
        return fast.reverse_neighbour_sum(values, idx, len(values) if rows is None else rows)
    k = idx.shape[1]
    flat = idx.reshape(-1)
    order = torch.sort(flat, stable=True).indices  # edges grouped by the neighbour they point to
    degree = torch.bincount(flat, minlength=len(values) if rows is None else rows)
    starts = degree.cumsum(0) - degree
    return F.embedding_bag(order // k, values, starts, mode="sum")


def neighbour_max(values: Tensor, idx: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the maximum over each centre's neighbours and its index among the K: ``(R, C)`` and
    ``(Q, K)`` to twice ``(Q, C)``.

    Plain torch makes K passes over blocks in cache on a CPU, and takes blocks of edges on a GPU.
    """
    fast = kernels(values)
    if fast is not None:
        return fast.neighbour_max(values, idx)
    rows, k = idx.shape
    best = values.new_empty(rows, values.shape[1])
    slot = torch.empty_like(best, dtype=slot_type(k))
    on_cpu = values.device.type == "cpu"
    step = max(1, (BLOCK // 4 if on_cpu else 16 * BLOCK // k) // values.shape[1])
    columns = idx.t().contiguous()
    for start in range(0, rows, step):
        part = slice(start, start + step)
        if not on_cpu:
            best[part], slot[part] = values[columns[:, part]].max(dim=0)
            continue
        running = RunningMax(torch.index_select(values, 0, columns[0, part], out=best[part]))
        new = torch.empty_like(best[part])
        for column in columns[1:, part]:
            running.update(torch.index_select(values, 0, column, out=new))
        slot[part] = running.which
    return best, slot


def max_of_slices(edges: Tensor) -> tuple[Tensor, Tensor]:
    """Compute ``edges.max(dim=0)``, ``(K, R, C)`` to twice ``(R, C)``; faster on a CPU."""
    if edges.device.type != "cpu":
        best, slot = edges.max(dim=0)
        return best, slot.to(slot_type(len(edges)))
    running = RunningMax(edges[0].clone())
    for new in edges[1:]:
        running.update(new)
    return running.best, running.which.to(slot_type(len(edges)))


class RunningMax:
    """Running maximum of a sequence of tensors and the index of the tensor it came from.

    Ties go to the first. The sign bit of ``best - new``, copied to all bits, masks the new index.
    These are plain vector operations; torch's maximum with indices, comparisons and masked
    assignments take several times as long.
    """

    def __init__(self, best: Tensor) -> None:
        self.best, self.seen = best, 1
        self.lead = torch.empty_like(best)
        self.sign = self.lead.view(INTEGERS[best.element_size()])
        self.which = torch.zeros_like(self.sign)

    def update(self, new: Tensor) -> None:
        torch.sub(self.best, new, out=self.lead)
        self.sign.bitwise_right_shift_(8 * new.element_size() - 1).bitwise_and_(self.seen)
        torch.maximum(self.which, self.sign, out=self.which)
        torch.maximum(self.best, new, out=self.best)
        self.seen += 1


def to_winners(grad: Tensor, idx: Tensor, slot: Tensor, rows: int) -> Tensor:
    """Scatter gradients ``(Q, C)`` of :func:`neighbour_max` to the rows that won: ``(rows, C)``."""
    fast = kernels(grad)
    if fast is not None:
        return fast.to_winners(grad, idx, slot, rows)
    return grad.new_zeros(rows, grad.shape[1]).scatter_add_(0, slot_rows(idx, slot), grad)


def slot_rows(idx: Tensor, slot: Tensor) -> Tensor:
    """Return the row numbers ``(Q, C)`` int64 of the maxima of :func:`neighbour_max`."""
    return idx.gather(1, slot.long())


class NeighbourMax(torch.autograd.Function):
    """Differentiable maximum of :func:`neighbour_max`; gradients go to the rows that won."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, idx: Tensor) -> Tensor:
        if not values.requires_grad:
            return _max_only(values, idx)
        best, slot = neighbour_max(values, idx)
        ctx.save_for_backward(idx, slot)
        ctx.rows = len(values)
        return best

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        idx, slot = ctx.saved_tensors
        return to_winners(grad, idx, slot, ctx.rows), None


def _max_only(values: Tensor, idx: Tensor) -> Tensor:
    """Compute the maximum without its index, in K passes at memory speed."""
    fast = kernels(values)
    if fast is not None:
        return fast.neighbour_max_only(values, idx)
    columns = idx.t().contiguous()
    best = values.index_select(0, columns[0])
    step = len(best) if values.device.type != "cpu" else max(1, BLOCK // 4 // values.shape[1])
    for start in range(0, len(best), step):
        top = best[start : start + step]
        new = torch.empty_like(top)
        for column in columns[1:, start : start + step]:
            torch.maximum(top, torch.index_select(values, 0, column, out=new), out=top)
    return best
