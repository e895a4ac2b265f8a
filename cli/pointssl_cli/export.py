"""`pointssl export`."""

from pointssl.config.predict import ExportConfig
from pointssl_cli.options import command_options


@command_options(ExportConfig)
def export(config: ExportConfig) -> None:
    """Write a network as ONNX or as a torch program, and check that it computes the same."""
    from pointssl.recipes import export as recipe

    recipe.run(config)
