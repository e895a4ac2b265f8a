"""`pointssl finetune ...`."""

import typer

from pointssl.config.finetune import FinetuneClsConfig, FinetunePartsegConfig, FinetuneSemsegConfig
from pointssl_cli.options import command_options

app = typer.Typer(help="Fine-tune an encoder, or train it from scratch.")


@app.callback(invoke_without_command=True)
def finetune(context: typer.Context) -> None:
    """Fine-tune an encoder, or train it from scratch."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command("partseg")
@command_options(FinetunePartsegConfig)
def partseg(config: FinetunePartsegConfig) -> None:
    """Part segmentation: a part for every point of an object.

    Alone or under torchrun; started again with the same --run-dir, it continues.
    """
    from pointssl.recipes.finetune import partseg as recipe

    recipe.run(config)


@app.command("cls")
@command_options(FinetuneClsConfig)
def cls(config: FinetuneClsConfig) -> None:
    """Classification: a class for every cloud; --freeze-backbone is a linear probe.

    Alone or under torchrun; started again with the same --run-dir, it continues.
    """
    from pointssl.recipes.finetune import cls as recipe

    recipe.run(config)


@app.command("semseg")
@command_options(FinetuneSemsegConfig)
def semseg(config: FinetuneSemsegConfig) -> None:
    """Scene segmentation on S3DIS: a class for every point of a room.

    Alone or under torchrun; started again with the same --run-dir, it continues.
    """
    from pointssl.recipes.finetune import semseg as recipe

    recipe.run(config)
