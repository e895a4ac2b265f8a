"""`pointssl eval-svm`: features of both splits, a linear SVM, and the random network beside it."""

from functools import partial
from typing import Any

from pointssl.config.evaluate import EvalSvmConfig
from pointssl.engine.distributed import World, start_world
from pointssl.features.encoder import where
from pointssl.probes.protocols import find_protocol
from pointssl.probes.svm_report import evaluate_svm
from pointssl.recipes import eval_all
from pointssl.recipes.frozen import (
    confusion_path,
    evaluate_frozen,
    report_classifier,
)

__all__ = ["confusion_path", "evaluate", "run"]


def run(config: EvalSvmConfig) -> dict[str, Any]:
    """Evaluate as ``config`` says; returns what is written to ``results.json``, by row.

    With ``--all-protocols`` it is :mod:`pointssl.recipes.eval_all` that does.
    """
    if config.all_protocols:
        return eval_all.run(eval_all.of_svm(config))
    with start_world(config.device, config.threads, config.kernels) as world:
        return evaluate(config, world)


def evaluate(config: EvalSvmConfig, world: World) -> dict[str, Any]:
    """:func:`run` in a process group that exists already. Rank 0 alone fits the SVM."""
    protocol = find_protocol(config.protocol)
    world.say(f"evaluating {where(config.weights)} on {config.data} by protocol {protocol.name}")
    judge = partial(
        evaluate_svm, protocol=protocol.name, c=config.c, kernel=config.kernel,
        label_fraction=config.label_fraction,
    )  # fmt: skip
    results = evaluate_frozen(
        config, world, lambda passes, classes: judge(passes, classes=classes),
        sampling=protocol.sampling, points=protocol.points, seeds=protocol.seeds,
    )  # fmt: skip
    if world.is_main:
        report_classifier(config, results)
    return results
