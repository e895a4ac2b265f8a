"""Sums and maxima over neighbours that never make the (rows, K, channels) tensor of all edges.

Rows are the points of all clouds, flat; ``idx`` holds row numbers.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

# Gathered blocks of this many numbers stay in a core's cache.
BLOCK = 1 << 20


def flat_index(idx: Tensor) -> Tensor:
    """``(B, N, K)`` indices within each cloud to ``(B*N, K)`` row numbers."""
    clouds, points, k = idx.shape
    offset = torch.arange(clouds, device=idx.device) * points
    return (idx + offset[:, None, None]).reshape(clouds * points, k)


def neighbour_sum(values: Tensor, idx: Tensor) -> Tensor:
    """Sum of each row's neighbours: ``(R, C)`` and ``(R, K)`` to ``(R, C)``."""
    return F.embedding_bag(idx, values, mode="sum")


def in_degree(idx: Tensor, rows: int, dtype: torch.dtype) -> Tensor:
    """How often each row is somebody's neighbour, ``(rows,)``."""
    return torch.bincount(idx.reshape(-1), minlength=rows).to(dtype)


def reverse_neighbour_sum(values: Tensor, idx: Tensor) -> Tensor:
    """For each row, the sum over the rows that have it as a neighbour: the transposed sum."""
    k = idx.shape[1]
    flat = idx.reshape(-1)
    order = torch.sort(flat, stable=True).indices  # edges grouped by the neighbour they point to
    degree = torch.bincount(flat, minlength=values.shape[0])
    starts = degree.cumsum(0) - degree
    return F.embedding_bag(order // k, values, starts, mode="sum")


def neighbour_max(values: Tensor, idx: Tensor) -> tuple[Tensor, Tensor]:
    """Maximum over each row's neighbours and the row it came from, both ``(R, C)``."""
    rows, k = idx.shape
    if values.device.type == "cpu":
        offsets = torch.arange(0, rows * k, k)
        # ATen's bag of maxima keeps the winning row and never stores the edges.
        best, _, _, source = torch.embedding_bag(values, idx.reshape(-1), offsets, mode=2)
        return best, source
    best = values.new_empty(rows, values.shape[1])
    source = torch.empty_like(best, dtype=torch.int64)
    step = max(1, 16 * BLOCK // (k * values.shape[1]))
    for start in range(0, rows, step):
        part = idx[start : start + step]
        best[start : start + step], winner = values[part].max(dim=1)
        source[start : start + step] = part.gather(1, winner)
    return best, source


class NeighbourMax(torch.autograd.Function):
    """:func:`neighbour_max` with a gradient: each goes to the row that won."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, idx: Tensor) -> Tensor:
        if not values.requires_grad:
            return _max_only(values, idx)
        best, source = neighbour_max(values, idx)
        ctx.save_for_backward(source)
        return best

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (source,) = ctx.saved_tensors
        return torch.zeros_like(grad).scatter_add_(0, source, grad), None


def _max_only(values: Tensor, idx: Tensor) -> Tensor:
    """Without the argmax: K passes over (R, C), each at memory speed."""
    columns = idx.t().contiguous()
    best = values.index_select(0, columns[0])
    other = torch.empty_like(best)
    for column in columns[1:]:
        torch.index_select(values, 0, column, out=other)
        torch.maximum(best, other, out=best)
    return best
