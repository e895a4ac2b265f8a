"""`pointssl eval-svm`: features of both splits, a linear SVM, and the random network beside it."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pointssl.config import EvalSvmConfig
from pointssl.engine.distributed import World, start_world
from pointssl.engine.runlog import write_json
from pointssl.evaluation.encoders import Subject, baseline_of, find_subject, where
from pointssl.evaluation.protocols import Protocol, find_protocol
from pointssl.evaluation.svm_report import Split, evaluate_svm, format_report
from pointssl.options import to_dict
from pointssl.recipes.features import features_of, serve_split
from pointssl_datasets.errors import DataError, UserError
from pointssl_datasets.mixing import Clouds


def run(config: EvalSvmConfig) -> dict[str, Any]:
    """Evaluate as ``config`` says; returns what is written to ``results.json``, by row."""
    with start_world(config.device, config.threads) as world:
        return evaluate(config, world)


def evaluate(config: EvalSvmConfig, world: World) -> dict[str, Any]:
    """:func:`run` in a process group that exists already. Rank 0 alone fits the SVM."""
    protocol = find_protocol(config.protocol)
    subjects = [find_subject(config)]
    if config.baseline and config.weights is not None:
        subjects.append(baseline_of(subjects[0], config))
    world.say(f"evaluating {where(config.weights)} on {config.data} by protocol {protocol.name}")
    results: dict[str, Any] = {}
    for subject in subjects:
        passes, about = collect(config, subject, protocol, world)
        if not world.is_main:
            continue
        result = evaluate_svm(
            passes,
            protocol=protocol.name,
            c=config.c,
            kernel=config.kernel,
            label_fraction=config.label_fraction,
            classes=about["classes"],
        )
        result["notes"] += [*subject.notes, *leakage(subject, about)]
        results[subject.name] = {**result, **about}
    if world.is_main:
        report(config, results)
    return results


def collect(
    config: EvalSvmConfig, subject: Subject, protocol: Protocol, world: World
) -> tuple[list[Split], dict[str, Any]]:
    """Features and labels of both splits, once per point-sampling seed, and facts for the table."""
    sampling = config.sampling or protocol.sampling
    serve = dict(subject.serve)
    if protocol.points and config.points is None:
        serve["points"] = protocol.points
    passes: list[Split] = []
    for seed in range(protocol.seeds or config.seeds):
        # Both are opened before the first feature is computed: what does not fit fails early.
        train, test = (
            serve_split(
                config, subject, split, world, **serve, sampling=sampling, turn=turn, seed=seed
            )
            for split, turn in (("train", config.turn_train), ("test", config.turn_test))
        )
        check_classes(train, test)
        get = partial(features_of, config, subject, world=world, use_cache=config.cached_feats)
        passes.append((get(train), train.labels, get(test), test.labels))
    about = {
        "data": config.data,
        "classes": list(train.classes),
        "data_notes": list(dict.fromkeys([*train.notes, *test.notes])),
        "fingerprints": {"train": train.fingerprint, "test": test.fingerprint},
        "members_of_test": test.facts().get("members", []),
        "weights": where(config.weights) if subject.trained_on else where(None),
        "backbone": subject.facts["backbone"],
        "backbone_args": subject.arguments,
        "k": subject.arguments.get("k"),
        "points": train.points,
        "sampling": sampling,
        "turn": {"train": config.turn_train, "test": config.turn_test},
        "feature": "cloud feature of the backbone",
        "selected_on": "train split only",
        "trained_on": subject.trained_on,
    }
    return passes, about


def check_classes(train: Clouds, test: Clouds) -> None:
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


def leakage(subject: Subject, about: dict[str, Any]) -> list[str]:
    """A line if the encoder was pretrained on the very shapes that it is tested on."""
    trained_on = subject.trained_on or {}
    # Either may be a mixture, whose members count.
    seen = {trained_on.get("fingerprint"), *trained_on.get("members", [])}
    if not seen.isdisjoint([about["fingerprints"]["test"], *about["members_of_test"]]):
        return ["LEAKAGE: the encoder was pretrained on this test split"]
    return []


def confusion_path(config: EvalSvmConfig, name: str) -> Path:
    """Where the confusion matrix of a row is drawn."""
    return config.out / f"confusion_{name.replace(' ', '_')}.png"


def report(config: EvalSvmConfig, results: dict[str, Any]) -> None:
    """The table, ``results.json`` and a confusion matrix per row."""
    from pointssl.evaluation.feature_pictures import confusion_picture

    print(format_report(results))
    first = next(iter(results.values()))
    for note in first["data_notes"]:
        print(f"- data: {note}")
    if "up" in first["turn"].values() or "so3" in first["turn"].values():
        print(f"- clouds turned: train {first['turn']['train']}, test {first['turn']['test']}")
    write_json(config.out / "results.json", {"config": to_dict(config), "results": results})
    print(f"results: {config.out / 'results.json'}")
    for name, result in results.items():
        path = confusion_path(config, name)
        title = f"{name}: {100 * result['accuracy']['mean']:.1f}% on {result['data']}"
        try:
            confusion_picture(np.array(result["confusion"]), result["classes"], title, path)
        except UserError as error:
            print(f"no picture: {error}")
        else:
            print(f"confusion matrix: {path}")
    names = " against ".join(
        f"{name} {100 * result['accuracy']['mean']:.1f}%" for name, result in results.items()
    )
    print(f"accuracy: {names}")
