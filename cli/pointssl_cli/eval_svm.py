"""`pointssl eval-svm`."""

from pointssl.config.evaluate import EvalSvmConfig
from pointssl_cli.options import command_options


@command_options(EvalSvmConfig)
def eval_svm(config: EvalSvmConfig) -> None:
    """Fit a linear SVM to frozen features, beside a random encoder's."""
    from pointssl.recipes import eval_svm as recipe

    recipe.run(config)
