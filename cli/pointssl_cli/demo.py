"""`pointssl demo`."""

from pointssl.config.tools import DemoConfig
from pointssl_cli.options import command_options


@command_options(DemoConfig)
def demo(config: DemoConfig) -> None:
    """Pretrain and evaluate on generated shapes, in minutes and without any data."""
    from pointssl.recipes import demo as recipe

    recipe.run(config)
