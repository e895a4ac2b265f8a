"""`pointssl eval-retrieval`: each test shape asks for the shapes of its class."""

from typing import Any

from pointssl.config.evaluate import EvalRetrievalConfig
from pointssl.engine.distributed import World, start_world
from pointssl.features.encoder import where
from pointssl.probes.retrieval import evaluate_retrieval
from pointssl.recipes.frozen import evaluate_frozen, report_scores
from pointssl.reports.scores import RETRIEVAL

HOW = "each test shape queries the other test shapes, and train, by cosine similarity"


def run(config: EvalRetrievalConfig) -> dict[str, Any]:
    """Evaluate as ``config`` says; returns what is written to ``results.json``, by row."""
    with start_world(config.device, config.threads, config.kernels) as world:
        return evaluate(config, world)


def evaluate(config: EvalRetrievalConfig, world: World) -> dict[str, Any]:
    """:func:`run` in a process group that exists already. Rank 0 alone ranks."""
    world.say(f"retrieval by {where(config.weights)} on {config.data}, protocol strict")
    results = evaluate_frozen(
        config, world, lambda passes, classes: evaluate_retrieval(passes, classes=classes)
    )
    if world.is_main:
        report_scores(config, results, RETRIEVAL, HOW, f"retrieval on {config.data}")
    return results
