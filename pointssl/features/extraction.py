"""Features of a whole dataset: sharded over ranks, put back in order, cached by content."""

from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from pointssl.engine.distributed import World
from pointssl.engine.loading import read_batches, shard_rows
from pointssl.features.cache import FeatureCache
from pointssl.features.pooling import cloud_feature
from pointssl_datasets.base.errors import UserError
from pointssl_datasets.serving.mixing import PointDataset


@torch.no_grad()
def extract(
    encoder: nn.Module,
    dataset: PointDataset,
    world: World,
    *,
    pool: str | None = None,
    layer: str | None = None,
    batch_size: int = 32,
    progress: bool = False,
    title: str = "features",
) -> NDArray[np.float32]:
    """Cloud features of every item, in the order of the dataset, on every rank.

    Each item is computed on one rank and goes to the row of its index, so none counts twice,
    however the dataset divides. The encoder is used in evaluation mode.

    Args:
        pool, layer: which feature, see :func:`pointssl.features.pooling.cloud_feature`.

    Returns:
        ``(len(dataset), D)`` float32.

    Raises:
        UserError: a feature is not finite.
    """
    encoder = encoder.to(world.device).eval()
    rows, parts = [], []
    batches = read_batches(dataset, shard_rows(len(dataset), batch_size, world), world.device)
    hidden = not (progress and world.is_main)
    with tqdm(total=len(dataset), desc=title, unit="cloud", leave=False, disable=hidden) as bar:
        for batch in batches:
            feature = cloud_feature(
                encoder, batch["xyz"], batch.get("feats"), pool=pool, layer=layer
            )
            parts.append(feature.float())
            rows.append(batch["index"])
            bar.update(len(batch["index"]) * world.size)
    index, features = gather_uneven(rows, parts, world)
    ordered = np.empty(features.shape, np.float32)
    ordered[index.cpu().numpy()] = features.cpu().numpy()
    if not np.isfinite(ordered).all():
        bad = int(np.flatnonzero(~np.isfinite(ordered).all(axis=1))[0])
        raise UserError(
            f"the feature of {dataset.names[bad]} ({dataset.name}, {dataset.split}) is not finite: "
            "check that cloud and the weights"
        )
    return ordered


def gather_uneven(rows: list[Tensor], parts: list[Tensor], world: World) -> tuple[Tensor, Tensor]:
    """Indices ``(M,)`` and features ``(M, D)`` of all ranks, which may have different numbers.

    rank 0:  rows 0 2 4     gathered:  0 2 4 1 3 (-1), and the row -1 is left out
    rank 1:  rows 1 3
    """
    if world.size == 1:
        return torch.cat(rows), torch.cat(parts)
    width = int(world.largest(parts[0].shape[1] if parts else 0)[0])
    count = sum(len(part) for part in parts)
    longest = int(world.largest(count)[0])
    # A row holds its index and its feature; padding has the index -1.
    padded = torch.full((longest, width + 1), -1.0, dtype=torch.float64, device=world.device)
    if count:
        padded[:count, 0] = torch.cat(rows).double()
        padded[:count, 1:] = torch.cat(parts).double()
    everyone = [torch.empty_like(padded) for _ in range(world.size)]
    dist.all_gather(everyone, padded)
    together = torch.cat(everyone)
    together = together[together[:, 0] >= 0]
    return together[:, 0].long(), together[:, 1:].float()


def cached_features(
    encoder: nn.Module,
    facts: dict[str, Any],
    dataset: PointDataset,
    world: World,
    cache: FeatureCache | None,
    **options: Any,
) -> tuple[NDArray[np.float32], bool]:
    """Features from the cache if it has them; otherwise they are extracted and saved there.

    Args:
        facts: what the features depend on in the encoder; with those of the dataset they are the
            key of the cache.
        cache: None: neither read nor written.
        options: of :func:`extract`.

    Returns:
        The features ``(M, D)``: on every rank if they were computed, on rank 0 alone if they were
        read. And whether they were read.
    """
    key = {"kind": "cloud features", "encoder": facts, "data": dataset.facts()}
    cached = cache.load(key) if cache and world.is_main else None
    if cached is not None and cached["features"].shape[:1] != (len(dataset),):
        cached = None
    if world.largest(float(cached is not None))[0]:  # as extraction is collective, all ranks agree
        nothing = np.empty((0, 0), np.float32)
        return (nothing if cached is None else cached["features"]), True
    features = extract(encoder, dataset, world, **options)
    if cache and world.is_main:
        cache.save(key, {"features": features, "labels": dataset.labels})
    return features, False
