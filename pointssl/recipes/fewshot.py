"""`pointssl eval-fewshot`: episodes of few classes and few shapes, answered by protocol."""

from itertools import product
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pointssl.config.evaluate import EvalFewshotConfig
from pointssl.engine.distributed import World, start_world
from pointssl.features.encoder import LoadedEncoder, where
from pointssl.probes.episodes import Episode, draw_episodes, locate, read_episodes, write_episodes
from pointssl.probes.fewshot import (
    FEWSHOT,
    SETTINGS,
    FewshotProtocol,
    format_fewshot,
    score_episode,
    summarise,
    title,
)
from pointssl.recipes.features import features_of
from pointssl.recipes.finetune.fewshot import finetuned_accuracies, finished_folds, recipe_line
from pointssl.recipes.frozen import (
    draw,
    encoder_and_baseline,
    facts_of,
    leakage_notes,
    print_and_save,
    serve_seeds,
    was_trained_on,
)
from pointssl_datasets.base.errors import UsageError
from pointssl_datasets.packing.arrays import read_array
from pointssl_datasets.serving.mixing import PointDataset

Questions: TypeAlias = "list[tuple[int, int, list[Episode]]]"


def run(config: EvalFewshotConfig) -> dict[str, Any]:
    """Evaluate as ``config`` says; returns what is written to ``results.json``, by row."""
    with start_world(config.device, config.threads, config.kernels) as world:
        return evaluate(config, world)


def evaluate(config: EvalFewshotConfig, world: World) -> dict[str, Any]:
    """:func:`run` in a process group that exists already."""
    results = answer(config, world)
    if world.is_main:
        report(config, results)
    return results


def answer(config: EvalFewshotConfig, world: World) -> dict[str, Any]:
    """The episodes, drawn or read, answered by each subject; results by row, on rank 0."""
    protocol = FEWSHOT[config.protocol]
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
    document, notes = ask(config, protocol, train, test)
    path = config.episodes or config.out / "episodes.json"
    questions = locate(document, train, test, str(path))
    done = finished_folds(config, questions, train, test, world) if protocol.finetune else {}
    if world.is_main and config.episodes is None:
        write_episodes(document, path)
        print(f"episodes: {path}")
    results: dict[str, Any] = {}
    for loaded in loaded_encoders:
        if protocol.finetune:
            how = recipe_line(config.epochs)
            found = finetuned_accuracies(config, loaded, questions, train, test, done, world)
        else:
            how = "linear SVC (C = 1, one-vs-one) on frozen features, standardised on the support"
            pairs = feature_pairs(config, protocol, loaded, choice, world)
            found = frozen_accuracies(questions, pairs) if world.is_main else []
        about = facts_of(config, loaded, train, test)
        results[loaded.name] = {
            "protocol": protocol.name,
            "how": f"{how}; support from train, up to {protocol.queries} queries a class from "
            f"{protocol.query_split}",
            "seeds": protocol.seeds or config.seeds,
            "settings": [
                {"way": way, "shot": shot, "runs": len(runs), "accuracy": summarise(runs)}
                for (way, shot, _), runs in zip(questions, found, strict=False)
            ],
            "caveats": caveats(config, protocol),
            "notes": [*notes, *loaded.notes, *seen(protocol, loaded, train, about)],
            **about,
        }
    return results


def most_points(clouds: PointDataset) -> int:
    """Stored points of the largest cloud."""
    members = getattr(clouds, "members", [clouds])
    return max(int(np.diff(read_array(member.folder, "offsets")).max()) for member in members)


def ask(
    config: EvalFewshotConfig, protocol: FewshotProtocol, train: PointDataset, test: PointDataset
) -> tuple[dict[str, Any], list[str]]:
    """The episodes of ``--episodes``, or others that are drawn; and lines for the user."""
    if config.episodes is not None:
        document = read_episodes(config.episodes, train, test, protocol.name, protocol.query_split)
        return document, [f"episodes of {config.episodes}"]
    settings = list(SETTINGS)
    if config.way or config.shot:
        ways, shots = config.way or ("5", "10"), config.shot or ("10", "20")
        settings = [(int(way), int(shot)) for way, shot in product(ways, shots)]
    return draw_episodes(
        train,
        test,
        list(dict.fromkeys(settings)),
        protocol=protocol.name,
        query_split=protocol.query_split,
        queries=protocol.queries,
        at_least=protocol.at_least,
        runs=config.runs or protocol.runs,
        seed=config.episode_seed,
        optional=not (config.way and config.shot),
    )


def feature_pairs(
    config: EvalFewshotConfig,
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


def caveats(config: EvalFewshotConfig, protocol: FewshotProtocol) -> list[str]:
    """Those of the protocol, and of what was changed in it."""
    lines = list(protocol.caveats)
    if protocol.finetune and config.epochs != EvalFewshotConfig.epochs:
        lines.append(f"{config.epochs} epochs instead of the protocol's {EvalFewshotConfig.epochs}")
    if protocol.name != "strict" and config.runs not in (None, protocol.runs):
        lines.append(f"{config.runs} episodes of each setting instead of {protocol.runs}")
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


def figure_path(config: EvalFewshotConfig) -> Path:
    """Where the bars are drawn."""
    return config.out / "fewshot.png"


def report(config: EvalFewshotConfig, results: dict[str, Any]) -> None:
    """The table, ``results.json`` and bars with their intervals."""
    from pointssl.reports.figures.bars import bars_figure

    print_and_save(config, format_fewshot(results), results)
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
