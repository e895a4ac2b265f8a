"""`pointssl pretrain`."""

from pointssl.config.pretrain import PretrainConfig
from pointssl_cli.options import command_options


@command_options(PretrainConfig)
def pretrain(config: PretrainConfig) -> None:
    """Pretrain a point encoder without labels.

    Alone or on many processes: `torchrun --nproc-per-node 4 -m pointssl pretrain ...`.
    Started again with the same --run-dir, it continues where it was stopped.
    """
    from pointssl.recipes import pretrain as recipe

    recipe.run(config)
