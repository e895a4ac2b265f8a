"""`pointssl eval-svm`, which with ``--all-protocols`` is an older name of `eval-all`."""

from dataclasses import fields
from typing import Any

from pointssl.config.evaluate import EvalAllConfig
from pointssl.recipes import eval_all, evaluate
from pointssl_datasets.base.errors import UsageError


def run(config: Any) -> dict[str, Any]:
    """Evaluate as ``config`` says; returns what is written to ``results.json``."""
    return eval_all.run(of_svm(config)) if config.all_protocols else evaluate.run(config)


def of_svm(config: Any) -> EvalAllConfig:
    """The options of `eval-svm --all-protocols` as those of `eval-all`.

    Raises:
        UsageError: one that holds for a single protocol was given.
    """
    for name in ("protocol", "c", "kernel"):
        value = getattr(config, name)
        if value != getattr(type(config), name):
            raise UsageError(
                f"--{name} {value} is of one evaluation, and --all-protocols runs them all: leave "
                "one of the two out"
            )
    return EvalAllConfig(**{f.name: getattr(config, f.name) for f in fields(EvalAllConfig)})
