"""Sums and gathers over all processes, for losses and norms that need the whole batch."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def world_size() -> int:
    """Return the number of processes in the process group; 1 without a group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def world_rank() -> int:
    """Return the rank of this process; 0 without a group."""
    return dist.get_rank() if world_size() > 1 else 0


def own_rows(count: int) -> slice:
    """Return the slice of this rank's rows among ``count`` rows gathered from all ranks."""
    share = count // world_size()
    return slice(world_rank() * share, (world_rank() + 1) * share)


def sum_over_ranks(x: Tensor, synced: bool = True) -> Tensor:
    """Sum ``x`` over all processes if ``synced``; every rank must call it."""
    if synced and world_size() > 1:
        x = x.contiguous()
        dist.all_reduce(x)
    return x


def shared_mean(rows: Tensor, synced: bool) -> Tensor:
    """Return a mean ``(C,)`` of ``rows (R, C)`` that is the same on every rank if ``synced``.

    The mean over the ranks of each rank's mean: ranks with fewer rows count as much as others.
    """
    total = sum_over_ranks(torch.cat((rows.mean(0), rows.new_ones(1))), synced)
    return total[:-1] / total[-1]


def gather_rows(x: Tensor) -> Tensor:
    """Gather the rows of all ranks, differentiably.

    .. code-block:: text

        rank 0 holds rows 0..B-1   \\
        rank 1 holds rows B..2B-1   >  every rank gets rows 0..WB-1
        ...                        /

    Backward sums the gradients of these rows over the ranks. Every rank must hold the same number
    of rows.

    Args:
        x: ``(B, D)``.

    Returns:
        ``(W*B, D)``; ``x`` itself in a single process.
    """
    return _GatherRows.apply(x) if world_size() > 1 else x


def gather_together(*many: Tensor) -> tuple[Tensor, ...]:
    """Call :func:`gather_rows` for several tensors, with one collective forward and one backward.

    A step then waits for the slowest rank and the network's latency once, not once per tensor.

    Args:
        many: ``(B, D_i)`` each, of one dtype.

    Returns:
        ``(W*B, D_i)`` each; ``many`` themselves in a single process.
    """
    if world_size() == 1 or len(many) == 1:
        return tuple(gather_rows(x) for x in many)
    return gather_rows(torch.cat(many, dim=1)).split([x.shape[1] for x in many], dim=1)


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.rows = own_rows(world_size() * len(x))
        everyone = x.new_empty(world_size() * len(x), *x.shape[1:])
        dist.all_gather(list(everyone.chunk(world_size())), x.contiguous())
        return everyone

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return sum_over_ranks(grad.clone())[ctx.rows]
