"""`pointssl bench`."""

from pointssl.config.bench import BenchConfig
from pointssl_cli.options import command_options


@command_options(BenchConfig)
def bench(config: BenchConfig) -> None:
    """Measure what the fast paths save on this machine, in time and memory."""
    from pointssl.recipes import bench as recipe

    recipe.run(config)
