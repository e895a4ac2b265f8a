"""`pointssl eval-cluster`: do the classes appear as clusters of test features?"""

from typing import Any

from pointssl.config.evaluate import EvalClusterConfig
from pointssl.engine.distributed import World, start_world
from pointssl.features.encoder import where
from pointssl.probes.clustering import evaluate_clusters
from pointssl.recipes.frozen import evaluate_frozen, report_scores
from pointssl.reports.scores import CLUSTERS


def run(config: EvalClusterConfig) -> dict[str, Any]:
    """Evaluate as ``config`` says; returns what is written to ``results.json``, by row."""
    with start_world(config.device, config.threads, config.kernels) as world:
        return evaluate(config, world)


def evaluate(config: EvalClusterConfig, world: World) -> dict[str, Any]:
    """:func:`run` in a process group that exists already. Rank 0 alone clusters."""
    world.say(f"clustering features of {where(config.weights)} on {config.data}, protocol strict")
    results = evaluate_frozen(
        config,
        world,
        lambda passes, classes: evaluate_clusters(passes, starts=config.starts, classes=classes),
    )
    if world.is_main:
        clusters = next(iter(results.values()))["clusters"]
        how = (
            f"k-means with {clusters} clusters, the tightest of {config.starts} starts, on test; "
            "no label has a part in it"
        )
        report_scores(config, results, CLUSTERS, how, f"clusters and classes of {config.data}")
    return results
