"""`pointssl eval-retrieval`: each test shape asks for the shapes of its class."""

from typing import Any

from pointssl.engine.distributed import World, start_world
from pointssl.eval_config import EvalRetrievalConfig
from pointssl.evaluation.encoders import where
from pointssl.evaluation.retrieval import evaluate_retrieval
from pointssl.evaluation.scores_report import RETRIEVAL
from pointssl.recipes.frozen import judge_frozen, report_scores

HOW = "each test shape queries the other test shapes, and train, by cosine similarity"


def run(config: EvalRetrievalConfig) -> dict[str, Any]:
    """Evaluate as ``config`` says; returns what is written to ``results.json``, by row."""
    with start_world(config.device, config.threads, config.kernels) as world:
        return evaluate(config, world)


def evaluate(config: EvalRetrievalConfig, world: World) -> dict[str, Any]:
    """:func:`run` in a process group that exists already. Rank 0 alone ranks."""
    world.say(f"retrieval by {where(config.weights)} on {config.data}, protocol strict")
    results = judge_frozen(
        config, world, lambda passes, classes: evaluate_retrieval(passes, classes=classes)
    )
    if world.is_main:
        report_scores(config, results, RETRIEVAL, HOW, f"retrieval on {config.data}")
    return results
