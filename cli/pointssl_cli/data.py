"""`pointssl data`: look at what the network is fed."""

import typer

from pointssl.config import RenderConfig
from pointssl_cli.options import takes

app = typer.Typer(help="Look at datasets.")


@app.callback(invoke_without_command=True)
def data(context: typer.Context) -> None:
    """Look at datasets."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command("render")
@takes(RenderConfig)
def render(config: RenderConfig) -> None:
    """Draw the clouds: OUT/CLASS/NAME/NN.png for every view, and a contact sheet."""
    from pointssl.recipes import render as recipe

    typer.echo(recipe.run(config))
