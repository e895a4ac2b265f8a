"""`pointssl inspect`: what an encoder does on the way from points to features.

Each network is passed through twice: once on a batch to see its modules and what they cost, once
on all clouds to see its layers.
"""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from pointssl.backbones import BACKBONES
from pointssl.config.tools import InspectConfig
from pointssl.engine.distributed import World, start_world
from pointssl.engine.loading import read_batches
from pointssl.features.encoder import (
    LoadedEncoder,
    baseline_of,
    encoder_from_checkpoint,
    encoder_from_options,
    random_encoder,
)
from pointssl.inspection.layers import Batch, look_inside
from pointssl.inspection.profile import profile_modules
from pointssl.recipes.features import serve_split
from pointssl.recipes.inspect_outcome import Inspected, report, told
from pointssl.runs.folder import RunFolder
from pointssl_datasets.base.errors import UsageError
from pointssl_datasets.base.resolve import nearest
from pointssl_datasets.serving.mixing import PointDataset

SHOWN = 6  # clouds on a sheet
SAMPLED = 2048  # points of all clouds together, on which layers are compared
GENERATED = {"shapes": 64, "primitives": 64}  # clouds that are made where none are said: enough
RANDOM = "random"  # the first network untrained


def run(config: InspectConfig) -> dict[str, Any]:
    """Inspect as ``config`` says; returns what is written to ``inspect.json``.

    Raises:
        UserError: a network or the data can't be opened, do not fit, or a feature is not finite.
    """
    with start_world(config.device, config.threads, config.kernels) as world:
        if world.size > 1:
            raise UsageError("inspect runs as one process: start it without torchrun")
        folder = RunFolder(config.out, config, world)
        loaded_encoders = encoder_and_baseline(config)
        clouds = serve_clouds(config, list(loaded_encoders.values()), world)
        chosen = choose(clouds.labels, config.clouds, config.seed)
        if config.compare and len(chosen) * clouds.points < 4:
            raise UsageError("--compare needs 4 points at least: raise --points or --clouds")
        for note in clouds.notes:
            print(f"note: {note}")
        found = [
            inspected(config, label, loaded, clouds, chosen, world)
            for label, loaded in loaded_encoders.items()
        ]
        result = told(config, found, clouds, chosen)
        report(config, found, result, folder)
    return result


def encoder_and_baseline(config: InspectConfig) -> dict[str, LoadedEncoder]:
    """The networks by label. The second is served with the points and scale of the first.

    Raises:
        UserError: unreadable, foreign, or neither a file nor a backbone.
    """
    if not config.networks:
        loaded = encoder_from_options(config)
        return {_label(config.weights, loaded): loaded}
    loaded_encoders: dict[str, LoadedEncoder] = {}
    for name in config.networks:
        if name == RANDOM and loaded_encoders:
            (first,) = loaded_encoders.values()
            # Beside a network that is random itself, another one.
            seed = config.init_seed + (first.trained_on is None)
            loaded, path = baseline_of(first, replace(config, init_seed=seed)), None
        elif name in BACKBONES or (":" in name and not Path(name).exists()):
            if config.backbone is not None:
                raise UsageError(f"--backbone {config.backbone}: {name} is a backbone already")
            plain = replace(config, networks=(), compare=False, backbone=name)
            loaded, path = random_encoder(plain, config.init_seed), None
        else:
            path = Path(name)
            if not path.exists() and not path.suffix and os.sep not in name:
                raise UsageError(
                    f"{name!r} is neither a file nor a backbone{nearest(name, list(BACKBONES))}"
                )
            loaded = encoder_from_checkpoint(config, path)
        label = _label(path, loaded)
        loaded_encoders[label if label not in loaded_encoders else f"{label} (2)"] = loaded
        serve = loaded.serve
        config = replace(config, points=serve["points"], normalise=serve["normalise"])
    return loaded_encoders


def _label(path: Path | None, loaded: LoadedEncoder) -> str:
    return str(path) if path else f"{loaded.facts['backbone']}, {RANDOM}"


def serve_clouds(
    config: InspectConfig, loaded_encoders: list[LoadedEncoder], world: World
) -> PointDataset:
    """The split, with normals if any of the networks takes them."""
    if config.data in GENERATED and config.size is None:
        config = replace(config, size=max(GENERATED[config.data], config.clouds))
    normals = any(loaded.serve["normals"] for loaded in loaded_encoders)
    return serve_split(
        config, loaded_encoders[0], config.split, world,
        sampling=config.sampling, normals=normals, seed=config.seed,
    )  # fmt: skip


def choose(labels: NDArray[np.int64], count: int, seed: int) -> list[int]:
    """``count`` clouds (or all there are) by ``seed``, of as many classes as can be."""
    order = np.random.default_rng(seed).permutation(len(labels))
    turn = np.empty(len(labels), dtype=np.int64)  # how many of its class come before it
    for label in np.unique(labels):
        mine = np.flatnonzero(labels[order] == label)
        turn[mine] = np.arange(len(mine))
    return [int(i) for i in order[np.argsort(turn, kind="stable")][:count]]


def inspected(
    config: InspectConfig,
    label: str,
    loaded: LoadedEncoder,
    clouds: PointDataset,
    chosen: list[int],
    world: World,
) -> Inspected:
    """Passes the chosen clouds through one network."""
    encoder = loaded.encoder.to(world.device).eval()
    size = min(config.batch_size, len(chosen))

    def batches() -> Iterator[Batch]:
        parts = iter([chosen[start : start + size] for start in range(0, len(chosen), size)])
        random = torch.Generator().manual_seed(config.seed)
        share = min(clouds.points, -(-SAMPLED // len(chosen)))
        for batch in read_batches(clouds, parts, world.device):
            names = [str(clouds.names[i]) for i in batch["index"].tolist()]
            rows = [torch.randperm(clouds.points, generator=random)[:share] for _ in names]
            feats = batch.get("feats") if loaded.serve["normals"] else None
            yield Batch(names, batch["xyz"], feats, torch.stack(rows).to(world.device))

    shown = tqdm(batches(), f"layers of {label}", unit="batch", leave=False,
                 total=-(-len(chosen) // size), disable=not config.progress)  # fmt: skip
    inside = look_inside(encoder, shown, SHOWN)
    first = next(batches())
    modules = profile_modules(encoder, first.xyz, first.feats, passes=config.passes)
    return Inspected(label, loaded, modules, totals_of(modules, len(first.xyz), encoder), inside)


def totals_of(
    modules: list[dict[str, Any]], clouds: int, encoder: torch.nn.Module
) -> dict[str, Any]:
    """What a whole forward pass of so many clouds costs."""
    root = modules[0]
    return {
        "clouds": clouds,
        "modules": len(modules),
        "parameters": sum(p.numel() for p in encoder.parameters()),
        "multiply_adds": root["multiply_adds"],
        "multiply_adds_per_cloud": root["multiply_adds"] / clouds,
        "seconds": root["seconds"],
        "clouds_per_second": clouds / root["seconds"],
        "largest_output_bytes": max(row["output_bytes"] // row["calls"] for row in modules),
        "peak_bytes": root["peak_bytes"],
    }
