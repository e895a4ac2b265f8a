"""`pointssl eval-linear`: test shapes are classified by logistic regression."""

from functools import partial
from typing import Any

from pointssl.config.evaluate import EvalLinearConfig
from pointssl.engine.distributed import World, start_world
from pointssl.features.encoder import where
from pointssl.probes.linear import evaluate_linear
from pointssl.recipes.frozen import evaluate_frozen, report_classifier


def run(config: EvalLinearConfig) -> dict[str, Any]:
    """Evaluate as ``config`` says; returns what is written to ``results.json``, by row."""
    with start_world(config.device, config.threads, config.kernels) as world:
        return evaluate(config, world)


def evaluate(config: EvalLinearConfig, world: World) -> dict[str, Any]:
    """:func:`run` in a process group that exists already. Rank 0 alone classifies."""
    world.say(f"evaluating {where(config.weights)} on {config.data}, protocol strict")
    judge = partial(evaluate_linear, c=config.c, label_fraction=config.label_fraction)
    results = evaluate_frozen(config, world, lambda passes, classes: judge(passes, classes=classes))
    if world.is_main:
        report_classifier(config, results)
    return results
