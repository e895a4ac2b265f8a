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


def own_rows(count: int) -> slice:
    """Which of ``count`` rows that were gathered of all ranks are this one's."""
    share = count // world_size()
    return slice(world_rank() * share, (world_rank() + 1) * share)


def sum_over_ranks(x: Tensor, synced: bool = True) -> Tensor:
    """``x`` summed over all processes if ``synced``; every rank must call it."""
    if synced and world_size() > 1:
        x = x.contiguous()
        dist.all_reduce(x)
    return x


def shared_mean(rows: Tensor, synced: bool) -> Tensor:
    """The mean of some rows ``(R, C)``, the same on every rank if ``synced``, ``(C,)``."""
    total = sum_over_ranks(torch.cat((rows.mean(0), rows.new_ones(1))), synced)
    return total[:-1] / total[-1]


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


def gather_together(*many: Tensor) -> tuple[Tensor, ...]:
    """:func:`gather_rows` of several, in one collective there and one back.

    A step waits for the slowest rank and the network's latency once, not once a tensor.

    Args:
        many: ``(B, D_i)`` each, of one type.

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
