"""What the evaluations on frozen features share: subjects, features of both splits, reports."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pointssl.config.evaluate import EvalOptions
from pointssl.config.options import to_dict
from pointssl.engine.distributed import World
from pointssl.features.encoder import LoadedEncoder, baseline_of, encoder_from_options, where
from pointssl.probes.common import Split
from pointssl.recipes.features import features_of, serve_split
from pointssl.runs.folder import write_json
from pointssl_datasets.base.errors import DataError, UserError
from pointssl_datasets.serving.mixing import PointDataset

Pair = tuple[PointDataset, PointDataset]  # train and test


def encoder_and_baseline(config: EvalOptions) -> list[LoadedEncoder]:
    """The encoder that is evaluated, and the same one without training beside it.

    Raises:
        UserError: ``--out`` is no folder: better said before hours of features than after.
    """
    if config.out.exists() and not config.out.is_dir():
        raise UserError(f"--out {config.out} is a file: name a folder")
    loaded_encoders = [encoder_from_options(config)]
    if config.baseline and config.weights is not None:
        loaded_encoders.append(baseline_of(loaded_encoders[0], config))
    return loaded_encoders


def evaluate_frozen(
    config: EvalOptions,
    world: World,
    judge: Callable[[Sequence[Split], Sequence[str]], dict[str, Any]],
    *,
    sampling: str = "random",
    points: int | None = None,
    seeds: int | None = None,
) -> dict[str, Any]:
    """Each subject's features of both splits, judged by rank 0; returns its results by row.

    Args:
        judge: takes ``(train_x, train_y, test_x, test_y)`` of each seed, and the class names;
            returns plain values, among them ``notes``.
        sampling, points, seeds: of the protocol; the first two where the options leave them open.
    """
    results: dict[str, Any] = {}
    for loaded in encoder_and_baseline(config):
        passes, about = collect(
            config, loaded, world, sampling=sampling, points=points, seeds=seeds
        )
        if world.is_main:
            result = judge(passes, about["classes"])
            result["notes"] += [*loaded.notes, *leakage_notes(loaded, about)]
            results[loaded.name] = {**result, **about}
    return results


def serve_seeds(
    config: EvalOptions,
    loaded: LoadedEncoder,
    world: World,
    *,
    sampling: str,
    points: int | None = None,
    seeds: int | None = None,
) -> Iterator[Pair]:
    """Both splits as ``loaded`` takes them, once per point-sampling seed."""
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


def collect(
    config: EvalOptions,
    loaded: LoadedEncoder,
    world: World,
    *,
    sampling: str,
    points: int | None = None,
    seeds: int | None = None,
) -> tuple[list[Split], dict[str, Any]]:
    """Features and labels of both splits, once per point-sampling seed, and facts for the table."""
    get = partial(features_of, config, loaded, world=world, use_cache=config.cached_feats)
    passes: list[Split] = []
    served = serve_seeds(config, loaded, world, sampling=sampling, points=points, seeds=seeds)
    for train, test in served:
        passes.append((get(train), train.labels, get(test), test.labels))
    return passes, facts_of(config, loaded, train, test)


def facts_of(
    config: EvalOptions, loaded: LoadedEncoder, train: PointDataset, test: PointDataset
) -> dict[str, Any]:
    """What a result says of its encoder and data."""
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
            "an SVM needs at least two classes"
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


def print_and_save(config: EvalOptions, text: str, results: Mapping[str, Any]) -> None:
    """The text, what is to be said of the data, and ``results.json``."""
    print(text)
    first = next(iter(results.values()))
    for note in first["data_notes"]:
        print(f"- data: {note}")
    if "up" in first["turn"].values() or "so3" in first["turn"].values():
        print(f"- clouds turned: train {first['turn']['train']}, test {first['turn']['test']}")
    write_json(config.out / "results.json", {"config": to_dict(config), "results": results})
    print(f"results: {config.out / 'results.json'}")


def confusion_path(config: EvalOptions, name: str) -> Path:
    """Where the confusion matrix of a row is drawn."""
    return config.out / f"confusion_{name.replace(' ', '_')}.png"


def report_classifier(config: EvalOptions, results: Mapping[str, Any]) -> None:
    """The table of a classifier, ``results.json`` and a confusion matrix per row."""
    from pointssl.probes.svm_report import format_report
    from pointssl.reports.figures.features import confusion_figure

    print_and_save(config, format_report(results), results)
    for name, result in results.items():
        path = confusion_path(config, name)
        title = f"{name}: {100 * result['accuracy']['mean']:.1f}% on {result['data']}"
        matrix = np.array(result["confusion"])
        draw("confusion matrix", path, confusion_figure, matrix, result["classes"], title)
    names = " against ".join(
        f"{name} {100 * result['accuracy']['mean']:.1f}%" for name, result in results.items()
    )
    print(f"accuracy: {names}")


def report_scores(
    config: EvalOptions,
    results: Mapping[str, Any],
    columns: Mapping[str, str],
    how: str,
    title: str,
) -> None:
    """The table of clustering or retrieval, ``results.json``, and bars."""
    from pointssl.reports.figures.bars import bars_figure
    from pointssl.reports.scores import format_scores

    print_and_save(config, format_scores(results, columns, how), results)
    bars = {}
    for name, result in results.items():
        spreads = [result[key] for key in columns.values()]
        many = result["seeds"] > 1
        bars[name] = [(found["mean"], found["std"] if many else None) for found in spreads]
    note = f"intervals: standard deviation over {result['seeds']} seeds" if many else "one seed"
    draw("picture", config.out / "scores.png", bars_figure, list(columns), bars, title, note)


def draw(what: str, path: Path, picture: Callable[..., None], *arguments: Any) -> None:
    """``picture(*arguments, path)`` and a line about it; a result is not lost for want of one."""
    try:
        picture(*arguments, path)
    except UserError as error:
        print(f"no picture: {error}")
    else:
        print(f"{what}: {path}")
