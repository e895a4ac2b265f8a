"""`pointssl extract`: features into the cache, and into a file if asked."""

from functools import partial
from typing import Any

import numpy as np

from pointssl.config.evaluate import ExtractConfig
from pointssl.engine.distributed import start_world
from pointssl.features.encoder import encoder_from_options, where
from pointssl.recipes.features import feature_cache, features_of, serve_split
from pointssl.runs.folder import RunFolder
from pointssl_datasets.base.writing import write_file


def run(config: ExtractConfig) -> dict[str, Any]:
    """Extract as ``config`` says; returns the features by split (on rank 0)."""
    splits = ("train", "test") if config.split == "both" else (config.split,)
    found: dict[str, Any] = {}
    written: dict[str, Any] = {}
    with start_world(config.device, config.threads, config.kernels) as world:
        folder = None if config.out is None else RunFolder(config.out, config, world)
        loaded = encoder_from_options(config)
        world.say(
            f"features of {config.data} by {loaded.facts['backbone']}, {where(config.weights)}"
        )
        for note in loaded.notes:
            world.say(f"note: {note}")
        for split in splits:
            dataset = serve_split(
                config, loaded, split, world,
                sampling=config.sampling, turn=config.turn, seed=config.seed,
            )  # fmt: skip
            for note in dataset.notes:
                world.say(f"note: {note}")
            features = features_of(config, loaded, dataset, world)
            found[split] = features
            world.say(f"{split}: {len(dataset)} clouds, {features.shape[-1]} channels")
            if folder is not None and world.is_main:
                path = folder.path / f"{dataset.name}_{split}.npz"
                columns: dict[str, Any] = {
                    "features": features,
                    "labels": dataset.labels,
                    "names": np.array(list(dataset.names)),
                    "classes": np.array(dataset.classes),
                }
                write_file(path, partial(np.savez, **columns))
                print(f"written: {path}")
                written[split] = {
                    "file": str(path), "clouds": len(dataset), "channels": features.shape[-1],
                    "data": dataset.facts(),
                }  # fmt: skip
        if folder is not None:
            folder.finish({"encoder": loaded.facts, "splits": written})
        world.say(f"cached in {feature_cache(config).root}")
    return found
