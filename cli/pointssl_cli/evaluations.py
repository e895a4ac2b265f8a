"""The evaluations on frozen features beside the SVM."""

from pointssl.config.evaluate import (
    EvalAllConfig,
    EvalClusterConfig,
    EvalFewshotConfig,
    EvalKnnConfig,
    EvalLinearConfig,
    EvalRetrievalConfig,
)
from pointssl_cli.options import command_options


@command_options(EvalKnnConfig)
def eval_knn(config: EvalKnnConfig) -> None:
    """Classify by nearest neighbours in frozen features."""
    from pointssl.recipes import eval_knn as recipe

    recipe.run(config)


@command_options(EvalLinearConfig)
def eval_linear(config: EvalLinearConfig) -> None:
    """Fit a logistic regression to frozen features."""
    from pointssl.recipes import eval_linear as recipe

    recipe.run(config)


@command_options(EvalClusterConfig)
def eval_cluster(config: EvalClusterConfig) -> None:
    """Cluster frozen features, and compare the clusters with the classes."""
    from pointssl.recipes import eval_cluster as recipe

    recipe.run(config)


@command_options(EvalRetrievalConfig)
def eval_retrieval(config: EvalRetrievalConfig) -> None:
    """Retrieve the shapes of a class by one of them."""
    from pointssl.recipes import eval_retrieval as recipe

    recipe.run(config)


@command_options(EvalFewshotConfig)
def eval_fewshot(config: EvalFewshotConfig) -> None:
    """Classify from a few shapes of a few classes."""
    from pointssl.recipes import fewshot as recipe

    recipe.run(config)


@command_options(EvalAllConfig)
def eval_all(config: EvalAllConfig) -> None:
    """Run every evaluation that trains no network, for one table."""
    from pointssl.recipes import eval_all as recipe

    recipe.run(config)
