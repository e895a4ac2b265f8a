"""Which clouds go into which step on which rank: a pure function of seed and epoch.

Nothing here keeps state, so a run can be continued at any step, and the same seed gives the same
batches on any number of processes.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from pointssl.engine.distributed import World, local_batch
from pointssl_datasets.base.errors import UsageError

AHEAD = 2  # batches that a thread has read or reads while one is computed on


def seeded(device: torch.device | str, *numbers: int) -> torch.Generator:
    """A generator whose stream depends on all the numbers, e.g. seed and step."""
    state = 0x9E3779B97F4A7C15
    for number in numbers:  # splitmix64, so that neighbouring numbers give unrelated streams
        state = (state + number * 0xBF58476D1CE4E5B9 + 0x94D049BB133111EB) % 2**64
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) % 2**64
        state ^= state >> 31
    return torch.Generator(device).manual_seed(state % 2**63)


def count_steps(items: int, batch_size: int) -> int:
    """Whole batches in an epoch; the rest is dropped, as a batch of one breaks batch norm.

    Raises:
        UsageError: not even one.
    """
    if items < batch_size:
        raise UsageError(
            f"--batch-size {batch_size} is larger than the set of {items} clouds: "
            f"lower it to {items} or less"
        )
    return items // batch_size


def train_rows(
    items: int, batch_size: int, seed: int, epoch: int, world: World, start: int = 0
) -> Iterator[list[int]]:
    """This rank's indices of each batch of a shuffled epoch, from step ``start`` on."""
    order = torch.randperm(items, generator=seeded("cpu", seed, epoch)).tolist()
    share = local_batch(batch_size, world)
    for step in range(start, count_steps(items, batch_size)):
        first = step * batch_size + world.rank * share
        yield order[first : first + share]


def shard_rows(items: int, batch_size: int, world: World) -> Iterator[list[int]]:
    """This rank's indices for an evaluation: every item on exactly one rank, in order."""
    mine = range(world.rank, items, world.size)
    share = max(1, batch_size // world.size)
    for first in range(0, len(mine), share):
        yield list(mine[first : first + share])


def read_batches(
    dataset: Dataset[Any], rows: Iterator[list[int]], device: torch.device, workers: int = 1
) -> Iterator[dict[str, Tensor]]:
    """Collated batches on ``device``, in order, read ahead by threads.

    The clouds are memory-mapped arrays and reading them is a copy, so one thread keeps up and
    worker processes would only add start-up time.

    Args:
        workers: threads; each reads a batch of its own, so that their number changes nothing.
    """
    with ThreadPoolExecutor(max_workers=workers, thread_name_prefix="loader") as pool:
        waiting = deque(
            pool.submit(_collate, dataset, part, device)
            for part in islice(rows, workers + AHEAD - 1)
        )
        try:
            while waiting:
                batch = waiting.popleft().result()
                part = next(rows, None)
                if part is not None:
                    waiting.append(pool.submit(_collate, dataset, part, device))
                yield {name: value.to(device, non_blocking=True) for name, value in batch.items()}
        finally:
            pool.shutdown(cancel_futures=True)  # who stops early waits for what is being read alone


def _collate(dataset: Any, rows: Sequence[int], device: torch.device) -> dict[str, Tensor]:
    many = getattr(dataset, "__getitems__", None)
    batch = default_collate(many(list(rows)) if many else [dataset[row] for row in rows])
    return {k: v.pin_memory() for k, v in batch.items()} if device.type == "cuda" else batch
