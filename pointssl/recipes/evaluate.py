"""`pointssl eval-NAME`: a probe on frozen features of both splits, beside the random network."""

from collections.abc import Callable, Sequence
from typing import Any

from pointssl.config.evaluate import EvalOptions
from pointssl.engine.distributed import World, start_world
from pointssl.features.encoder import where
from pointssl.probes.base import Split
from pointssl.probes.build import probe_of
from pointssl.recipes.evaluate_outcome import report_classifier, report_scores
from pointssl.recipes.features import encoder_and_baseline, features_of_splits, leakage_notes
from pointssl.runs.folder import RunFolder


def run(config: EvalOptions) -> dict[str, Any]:
    """Evaluate as ``config``, an :func:`~pointssl.probes.build.eval_config`, says.

    Returns:
        what is written to ``results.json``, by row.
    """
    with start_world(config.device, config.threads, config.kernels) as world:
        return evaluate(config, world)


def evaluate(config: EvalOptions, world: World) -> dict[str, Any]:
    """:func:`run` in a process group that exists already."""
    folder = RunFolder(config.out, config, world)
    probe = probe_of(config)
    protocol = getattr(probe, "protocol", "strict")
    world.say(
        f"evaluating {where(config.weights)} on {config.data} by {probe.title}, protocol {protocol}"
    )
    share = {"label_fraction": getattr(config, "label_fraction", 1.0)}
    results = evaluate_encoders(
        config,
        world,
        lambda passes, classes: probe.evaluate(passes, classes=classes, **share),
        **probe.serving(),
    )
    if world.is_main and "confusion" in next(iter(results.values())):
        report_classifier(config, folder, results)
    elif world.is_main:
        report_scores(config, folder, results, probe)
    return results


def evaluate_encoders(
    config: EvalOptions,
    world: World,
    judge: Callable[[Sequence[Split], Sequence[str]], dict[str, Any]],
    **serving: Any,
) -> dict[str, Any]:
    """The result of each encoder by row, on rank 0, which alone judges.

    Args:
        judge: takes a split for each seed and the class names; returns plain values, among them
            ``notes``.
        serving: of the probe, see :meth:`pointssl.probes.base.Probe.serving`.
    """
    results: dict[str, Any] = {}
    for loaded in encoder_and_baseline(config):
        passes, about = features_of_splits(config, loaded, world, **serving)
        if world.is_main:
            result = judge(passes, about["classes"])
            result["notes"] += [*loaded.notes, *leakage_notes(loaded, about)]
            results[loaded.name] = {**result, **about}
    return results
