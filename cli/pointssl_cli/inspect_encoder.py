"""`pointssl inspect`."""

from pointssl.config.inspect import InspectConfig
from pointssl_cli.options import command_options


@command_options(InspectConfig)
def inspect_encoder(config: InspectConfig) -> None:
    """Show an encoder at work: what its modules cost, and its layers in numbers and colours."""
    from pointssl.recipes import inspect as recipe

    recipe.run(config)
