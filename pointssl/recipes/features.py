"""What `extract` and the evaluations share: a split served as its encoder needs it, as features."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pointssl.config.groups import CloudFeatureOptions, DataOptions, FeatureOptions
from pointssl.engine.distributed import World
from pointssl.features.cache import FeatureCache
from pointssl.features.encoder import LoadedEncoder
from pointssl.features.extraction import cached_features
from pointssl.recipes.splits import open_split
from pointssl_datasets.base.paths import cache_root
from pointssl_datasets.serving.mixing import PointDataset


def feature_cache(options: DataOptions) -> FeatureCache:
    """The feature cache under the cache folder of the options."""
    return FeatureCache(cache_root(options.cache_dir) / "features")


def serve_split(
    options: FeatureOptions, loaded: LoadedEncoder, split: str, world: World, **choice: Any
) -> PointDataset:
    """One split, served with the points, channels and scale of ``loaded``; rank 0 packs it."""

    served = {**loaded.serve, **choice}
    return open_split(options, split, world, progress=options.progress, **served)


def features_of(
    options: CloudFeatureOptions,
    loaded: LoadedEncoder,
    dataset: PointDataset,
    world: World,
    *,
    use_cache: bool = True,
) -> NDArray[np.float32]:
    """Features of ``dataset`` by ``loaded``; a line says whether they were computed or read."""
    features, read = cached_features(
        loaded.encoder,
        loaded.facts,
        dataset,
        world,
        feature_cache(options) if use_cache else None,
        pool=options.pool,
        layer=options.layer,
        batch_size=options.batch_size,
        progress=options.progress,
        title=f"{loaded.name}, {dataset.split}",
    )
    how = "read from the cache" if read else "computed"
    world.say(
        f"features of {dataset.name} {dataset.split}, {loaded.name}, seed {dataset.seed}: {how}"
    )
    return features
