"""What a fine-tuned network says of a set: over ranks, in batches, several times if asked."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import default_collate
from tqdm import tqdm

from pointssl.engine.distributed import World
from pointssl.engine.loading import shard_rows
from pointssl_datasets.serving.mixing import PointDataset

Batch = dict[str, Tensor]
Pass = tuple[Batch, Tensor]
VOTE = 41  # a stream of random numbers of its own


@torch.no_grad()
def predictions(
    task: nn.Module,
    dataset: PointDataset,
    rows: NDArray[np.int64],
    world: World,
    *,
    prepare: Callable[[Batch], Batch],
    batch_size: int,
    votes: int = 1,
    progress: bool = False,
    title: str = "test",
) -> Iterator[list[Pass]]:
    """For each batch of this rank's share of ``rows``: what was served, and the probabilities that
    the network gives it, once per vote.

    The first pass is the plain one. Each further one takes other points (with random sampling) and
    scales the axes by U(2/3, 3/2), the same for every cloud. A row is on exactly one rank.

    Args:
        task: has ``logits(xyz, feats, category)``; used in evaluation mode.
        prepare: of a batch, without randomness: which numbers parts and categories have.
        batch_size: over all ranks.

    Returns:
        lists of ``votes`` pairs: the batch with ``xyz`` as it was served, before it is scaled, and
        probabilities ``(B, ..., classes)``; both on the CPU.
    """
    task.eval()
    hidden = not (progress and world.is_main)
    with tqdm(total=len(rows), desc=title, unit="cloud", leave=False, disable=hidden) as bar:
        for part in shard_rows(len(rows), batch_size, world):
            chosen = rows[part].tolist()
            found: list[Pass] = []
            for vote in range(votes):
                dataset.set_epoch(vote)
                batch = prepare(default_collate([dataset[row] for row in chosen]))
                found.append((batch, probabilities(task, batch, world.device, vote_scale(vote))))
            dataset.set_epoch(0)
            yield found
            bar.update(len(chosen) * world.size)


def probabilities(
    task: Any, batch: Batch, device: torch.device, scale: NDArray[np.float32] | None = None
) -> Tensor:
    """``(B, ..., classes)`` on the CPU, in fp32."""
    xyz, feats = batch["xyz"], batch.get("feats")
    if scale is not None:
        by = torch.from_numpy(scale)
        xyz = xyz * by
        feats = None if feats is None else F.normalize(feats / by, dim=-1)  # they are normals
    logits = task.logits(
        xyz.to(device), None if feats is None else feats.to(device), batch["label"].to(device)
    )
    return logits.float().softmax(dim=-1).cpu()


def vote_scale(vote: int) -> NDArray[np.float32] | None:
    """``(3,)`` of pass ``vote``; None for the plain one."""
    if vote == 0:
        return None
    return np.random.default_rng([VOTE, vote]).uniform(2 / 3, 3 / 2, 3).astype(np.float32)


def gathered(rows: list[dict[str, Any]], world: World) -> list[dict[str, Any]]:
    """The rows of all ranks on every rank, in the order of their ``index``."""
    everyone = [row for mine in world.gather(rows) for row in mine]
    return sorted(everyone, key=lambda row: row["index"])
