"""Sums and gathers over the processes of a run, as the mathematics of a loss or norm needs them."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def world_size() -> int:
    """Processes that train together; 1 outside a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def world_rank() -> int:
    """This process among them."""
    return dist.get_rank() if world_size() > 1 else 0


def sum_over_ranks(x: Tensor, synced: bool = True) -> Tensor:
    """``x`` summed over all processes if ``synced``; every rank must call it."""
    if synced and world_size() > 1:
        x = x.contiguous()
        dist.all_reduce(x)
    return x


def gather_rows(x: Tensor) -> Tensor:
    """The rows of all ranks, with their gradient.

    .. code-block:: text

        rank 0 holds rows 0..B-1   \\
        rank 1 holds rows B..2B-1   >  every rank gets rows 0..WB-1
        ...                        /

    Backward sums over the ranks what each wanted of these rows. Every rank must hold equally
    many rows.

    Args:
        x: ``(B, D)``.

    Returns:
        ``(W*B, D)``; ``x`` itself in a single process.
    """
    return _GatherRows.apply(x) if world_size() > 1 else x


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        parts = [torch.empty_like(x) for _ in range(world_size())]
        dist.all_gather(parts, x.contiguous())
        ctx.rows = slice(world_rank() * len(x), (world_rank() + 1) * len(x))
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return sum_over_ranks(grad.clone())[ctx.rows]
