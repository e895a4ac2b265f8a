"""`pointssl eval-fewshot`: episodes of few classes and few shapes, answered by protocol."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pointssl.config.evaluate import EvalOptions
from pointssl.engine.distributed import World, start_world
from pointssl.features.encoder import LoadedEncoder, where
from pointssl.probes.build import probe_of
from pointssl.probes.episodes import (
    Questions,
    draw_episodes,
    locate,
    read_episodes,
    write_episodes,
)
from pointssl.probes.fewshot import (
    FEWSHOT,
    FewShot,
    FewshotProtocol,
    score_episode,
    summarise,
)
from pointssl.recipes.evaluate_outcome import draw, print_and_save
from pointssl.recipes.features import (
    encoder_and_baseline,
    features_of,
    leakage_notes,
    provenance,
    serve_seeds,
    was_trained_on,
)
from pointssl.recipes.finetune.fewshot import finetuned_accuracies, finished_folds, recipe_line
from pointssl.reports.fewshot import format_fewshot, title
from pointssl.runs.folder import RunFolder
from pointssl_datasets.base.errors import UsageError
from pointssl_datasets.packing.arrays import read_array
from pointssl_datasets.serving.mixing import PointDataset


def run(config: EvalOptions) -> dict[str, Any]:
    """Evaluate as ``config`` says; returns what is written to ``results.json``, by row."""
    with start_world(config.device, config.threads, config.kernels) as world:
        return evaluate(config, world)


def evaluate(config: EvalOptions, world: World) -> dict[str, Any]:
    """:func:`run` in a process group that exists already."""
    folder = RunFolder(config.out, config, world)
    results = answer(config, world)
    if world.is_main:
        report(config, folder, results)
    return results


def answer(config: EvalOptions, world: World) -> dict[str, Any]:
    """The episodes, drawn or read, answered by each subject; results by row, on rank 0."""
    probe: FewShot = probe_of(config)
    protocol = FEWSHOT[probe.protocol]
    world.say(f"few-shot by {where(config.weights)} on {config.data}, protocol {protocol.name}")
    if protocol.finetune and (config.pool or config.layer):
        raise UsageError(
            f"--protocol {protocol.name} trains the whole network on the backbone's own feature: "
            "leave --pool and --layer out"
        )
    loaded_encoders = encoder_and_baseline(config)
    points = None
    if protocol.points:
        train, _ = next(serve_seeds(config, loaded_encoders[0], world, sampling="first", seeds=1))
        points = min(protocol.points, most_points(train))
    choice: dict[str, Any] = {
        "sampling": protocol.sampling, "points": points, "seeds": protocol.seeds
    }  # fmt: skip
    train, test = next(serve_seeds(config, loaded_encoders[0], world, **choice))
    document, notes = ask(probe, train, test)
    path = probe.episodes or config.out / "episodes.json"
    questions = locate(document, train, test, str(path))
    done = {}
    if protocol.finetune:
        done = finished_folds(config, probe.epochs, questions, train, test, world)
    if world.is_main and probe.episodes is None:
        write_episodes(document, path)
        print(f"episodes: {path}")
    results: dict[str, Any] = {}
    for loaded in loaded_encoders:
        if protocol.finetune:
            how = f"{recipe_line(probe.epochs)}; {probe.drawn_from()}"
            found = finetuned_accuracies(
                config, probe.epochs, loaded, questions, train, test, done, world
            )
        else:
            how = probe.how({})
            pairs = feature_pairs(config, protocol, loaded, choice, world)
            found = frozen_accuracies(questions, pairs) if world.is_main else []
        about = provenance(config, loaded, train, test)
        results[loaded.name] = {
            "protocol": protocol.name,
            "how": how,
            "seeds": protocol.seeds or config.seeds,
            "settings": [
                {"way": way, "shot": shot, "runs": len(runs), "accuracy": summarise(runs)}
                for (way, shot, _), runs in zip(questions, found, strict=False)
            ],
            "caveats": caveats(config, probe),
            "notes": [*notes, *loaded.notes, *seen(protocol, loaded, train, about)],
            **about,
        }
    return results


def most_points(clouds: PointDataset) -> int:
    """Stored points of the largest cloud."""
    members = getattr(clouds, "members", [clouds])
    return max(int(np.diff(read_array(member.folder, "offsets")).max()) for member in members)


def ask(
    probe: FewShot, train: PointDataset, test: PointDataset
) -> tuple[dict[str, Any], list[str]]:
    """The episodes of ``--episodes``, or others that are drawn; and lines for the user."""
    if probe.episodes is not None:
        query_split = FEWSHOT[probe.protocol].query_split
        document = read_episodes(probe.episodes, train, test, probe.protocol, query_split)
        return document, [f"episodes of {probe.episodes}"]
    return draw_episodes(train, test, protocol=probe.protocol, **probe.choice())


def feature_pairs(
    config: EvalOptions,
    protocol: FewshotProtocol,
    loaded: LoadedEncoder,
    choice: dict[str, Any],
    world: World,
) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    """Features of the support's split and of the query's, for each point-sampling seed."""
    pairs = []
    for train, test in serve_seeds(config, loaded, world, **choice):
        support = features_of(config, loaded, train, world, use_cache=config.cached_feats)
        query = support
        if protocol.query_split == "test":
            query = features_of(config, loaded, test, world, use_cache=config.cached_feats)
        pairs.append((support, query))
    return pairs


def frozen_accuracies(
    questions: Questions, pairs: list[tuple[NDArray[Any], NDArray[Any]]]
) -> list[list[float]]:
    """Accuracy of every episode of every setting; episode i sees the points of seed i mod seeds."""
    found = []
    for _, _, episodes in questions:
        runs = []
        for number, episode in enumerate(episodes):
            support, query = pairs[number % len(pairs)]
            runs.append(score_episode(support[episode.support], query[episode.query], episode))
        found.append(runs)
    return found


def caveats(config: EvalOptions, probe: FewShot) -> list[str]:
    """Those of the protocol, and of what was changed in it."""
    protocol = FEWSHOT[probe.protocol]
    lines = list(protocol.caveats)
    if protocol.finetune and probe.epochs != FewShot.epochs:
        lines.append(f"{probe.epochs} epochs instead of the protocol's {FewShot.epochs}")
    if protocol.name != "strict" and probe.runs not in (None, protocol.runs):
        lines.append(f"{probe.runs} episodes of each setting instead of {protocol.runs}")
    if protocol.points and config.points:
        lines.append(f"{config.points} points were asked for instead of all, up to 2048")
    return lines


def seen(
    protocol: FewshotProtocol, loaded: LoadedEncoder, train: PointDataset, about: dict[str, Any]
) -> list[str]:
    """A line if the encoder was pretrained on shapes that it is asked about."""
    if protocol.query_split == "test":
        return leakage_notes(loaded, about)
    if was_trained_on(loaded, [train.fingerprint, *train.facts().get("members", [])]):
        return ["the encoder was pretrained on this train split, from which the queries come"]
    return []


def figure_path(config: EvalOptions) -> Path:
    """Where the bars are drawn."""
    return config.out / "fewshot.png"


def report(config: EvalOptions, folder: RunFolder, results: dict[str, Any]) -> None:
    """The table, ``results.json`` and bars with their intervals."""
    from pointssl.reports.figures.bars import bars_figure

    print_and_save(folder, format_fewshot(results), results)
    bars = {
        name: [(s["accuracy"]["mean"], s["accuracy"]["ci95"]) for s in result["settings"]]
        for name, result in results.items()
    }
    first = next(iter(results.values()))
    groups = [title(setting).replace(" ", "\n") for setting in first["settings"]]
    heading = f"few-shot accuracy on {config.data}, protocol {first['protocol']}"
    runs = first["settings"][0]["runs"]
    note = f"intervals: 95%, of the mean over {runs} episodes" if runs > 1 else "one episode"
    draw("picture", figure_path(config), bars_figure, groups, bars, heading, note)
