"""`pointssl inspect`."""

from pointssl.config.inspect import InspectConfig
from pointssl_cli.options import takes


@takes(InspectConfig)
def inspect_encoder(config: InspectConfig) -> None:
    """Show an encoder at work: what its modules cost, and its layers in numbers and colours."""
    from pointssl.recipes import inspect as recipe

    recipe.run(config)
