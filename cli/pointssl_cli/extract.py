"""`pointssl extract`."""

from pointssl.config.evaluate import ExtractConfig
from pointssl_cli.options import command_options


@command_options(ExtractConfig)
def extract(config: ExtractConfig) -> None:
    """Compute the features of a dataset, into the cache and a file."""
    from pointssl.recipes import extract as recipe

    recipe.run(config)
