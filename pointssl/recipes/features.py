"""Features of a dataset by an encoder, as `extract`, the evaluations and others need them."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pointssl.config.evaluate import EvalOptions
from pointssl.config.groups import CloudFeatureOptions, DataOptions, FeatureOptions
from pointssl.engine.distributed import World
from pointssl.features.cache import FeatureCache
from pointssl.features.encoder import LoadedEncoder, baseline_of, encoder_from_options, where
from pointssl.features.extraction import cached_features
from pointssl.probes.base import Split
from pointssl.recipes.splits import open_split
from pointssl_datasets.base.errors import DataError
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


def encoder_and_baseline(config: EvalOptions) -> list[LoadedEncoder]:
    """The encoder that is evaluated, and the same one without training beside it."""
    loaded_encoders = [encoder_from_options(config)]
    if config.baseline and config.weights is not None:
        loaded_encoders.append(baseline_of(loaded_encoders[0], config))
    return loaded_encoders


def serve_seeds(
    config: EvalOptions,
    loaded: LoadedEncoder,
    world: World,
    *,
    sampling: str,
    points: int | None = None,
    seeds: int | None = None,
) -> Iterator[tuple[PointDataset, PointDataset]]:
    """Train and test as ``loaded`` takes them, once per point-sampling seed.

    Args:
        sampling, points, seeds: of the protocol; the first two where the options leave them open.
    """
    serve = dict(loaded.serve)
    if points and config.points is None:
        serve["points"] = points
    for seed in range(seeds or config.seeds):
        # Both are opened before the first feature is computed: what does not fit fails early.
        train, test = (
            serve_split(
                config, loaded, split, world,
                **serve, sampling=config.sampling or sampling, turn=turn, seed=seed,
            )
            for split, turn in (("train", config.turn_train), ("test", config.turn_test))
        )  # fmt: skip
        check_classes(train, test)
        yield train, test


def features_of_splits(
    config: EvalOptions, loaded: LoadedEncoder, world: World, **serving: Any
) -> tuple[list[Split], dict[str, Any]]:
    """Features and labels of both splits, once per point-sampling seed, and their provenance.

    Args:
        serving: of the protocol, see :func:`serve_seeds`.
    """
    get = partial(features_of, config, loaded, world=world, use_cache=config.cached_feats)
    passes: list[Split] = []
    for train, test in serve_seeds(config, loaded, world, **serving):
        passes.append(Split(get(train), train.labels, get(test), test.labels))
    return passes, provenance(config, loaded, train, test)


def provenance(
    config: EvalOptions, loaded: LoadedEncoder, train: PointDataset, test: PointDataset
) -> dict[str, Any]:
    """What a result states of its encoder and data."""
    return {
        "data": config.data,
        "classes": list(train.classes),
        "data_notes": list(dict.fromkeys([*train.notes, *test.notes])),
        "fingerprints": {"train": train.fingerprint, "test": test.fingerprint},
        "members_of_test": test.facts().get("members", []),
        "weights": where(config.weights) if loaded.trained_on else where(None),
        "backbone": loaded.facts["backbone"],
        "backbone_args": loaded.arguments,
        "k": loaded.arguments.get("k", getattr(loaded.encoder, "k", None)),
        "points": train.points,
        "sampling": train.facts()["sampling"],
        "turn": {"train": config.turn_train, "test": config.turn_test},
        "feature": loaded.facts["feature"],
        "selected_on": "train split only",
        "trained_on": loaded.trained_on,
    }


def check_classes(train: PointDataset, test: PointDataset) -> None:
    """Raises DataError unless train has two classes or more, and all that test has."""
    if train.classes != test.classes:
        raise DataError(
            f"{train.name}: train has the classes {', '.join(train.classes[:5])}..., "
            f"test has {', '.join(test.classes[:5])}...; they must be the same"
        )
    known = [train.classes[label] for label in np.unique(train.labels)]
    if len(known) < 2:
        raise DataError(
            f"{train.name}: every train shape is of the class {known[0]}; "
            "a probe needs at least two classes"
        )
    unseen = sorted({test.classes[label] for label in np.unique(test.labels)} - {*known})
    if unseen:
        raise DataError(
            f"{train.name}: test has shapes of {', '.join(unseen[:5])}, of which train has none: "
            "train and test must have the same classes"
        )


def leakage_notes(loaded: LoadedEncoder, about: dict[str, Any]) -> list[str]:
    """A line if the encoder was pretrained on the very shapes that it is tested on."""
    if was_trained_on(loaded, [about["fingerprints"]["test"], *about["members_of_test"]]):
        return ["LEAKAGE: the encoder was pretrained on this test split"]
    return []


def was_trained_on(loaded: LoadedEncoder, fingerprints: Sequence[str]) -> bool:
    """Whether the encoder was trained on one of these; either may be a mixture's members."""
    trained_on = loaded.trained_on or {}
    seen = {trained_on.get("fingerprint"), *trained_on.get("members", [])}
    return not seen.isdisjoint(fingerprints)
