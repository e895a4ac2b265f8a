"""`pointssl eval-knn`: test shapes are classified by its nearest neighbours in train."""

from functools import partial
from typing import Any

from pointssl.config.evaluate import EvalKnnConfig
from pointssl.engine.distributed import World, start_world
from pointssl.features.encoder import where
from pointssl.probes.knn import evaluate_knn
from pointssl.recipes.frozen import evaluate_frozen, report_classifier


def run(config: EvalKnnConfig) -> dict[str, Any]:
    """Evaluate as ``config`` says; returns what is written to ``results.json``, by row."""
    with start_world(config.device, config.threads, config.kernels) as world:
        return evaluate(config, world)


def evaluate(config: EvalKnnConfig, world: World) -> dict[str, Any]:
    """:func:`run` in a process group that exists already. Rank 0 alone classifies."""
    world.say(f"evaluating {where(config.weights)} on {config.data}, protocol strict")
    judge = partial(
        evaluate_knn, neighbours=config.neighbours, label_fraction=config.label_fraction
    )
    results = evaluate_frozen(config, world, lambda passes, classes: judge(passes, classes=classes))
    if world.is_main:
        report_classifier(config, results)
    return results
