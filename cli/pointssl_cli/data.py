"""`pointssl data`: get datasets, look at them, check them, convert them."""

import json

import typer

from pointssl.config.data import (
    CheckConfig,
    ConvertConfig,
    DownloadConfig,
    ListConfig,
    RenderConfig,
    ShowConfig,
)
from pointssl_cli.options import command_options

app = typer.Typer(help="Get datasets, look at them, check them, convert them.")


@app.callback(invoke_without_command=True)
def data(context: typer.Context) -> None:
    """Get datasets, look at them, check them, convert them."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command("list")
@command_options(ListConfig)
def list_datasets(config: ListConfig) -> None:
    """Say which datasets are known, where to get them, and which are here."""
    from pointssl.recipes.data import list as recipe

    known = recipe.run(config)
    typer.echo(json.dumps(known, indent=2) if config.json else recipe.as_text(known))


@app.command("download")
@command_options(DownloadConfig)
def download(config: DownloadConfig) -> None:
    """Fetch a dataset, check it and unpack it; --from takes an archive that is here already."""
    from pointssl.recipes.data import download as recipe

    typer.echo(recipe.run(config))


@app.command("check")
@command_options(CheckConfig)
def check(config: CheckConfig) -> None:
    """Read everything once and say what is wrong with it; exit code 1 if something is."""
    from pointssl.recipes.data import check as recipe

    report = recipe.run(config)
    typer.echo(json.dumps(report.as_json(), indent=2) if config.json else report.as_text())
    raise typer.Exit(report.exit_code)


@app.command("convert")
@command_options(ConvertConfig)
def convert(config: ConvertConfig) -> None:
    """Write any dataset as packed arrays, HDF5 or PLY."""
    from pointssl.recipes.data import convert as recipe

    typer.echo(recipe.run(config))


@app.command("render")
@command_options(RenderConfig)
def render(config: RenderConfig) -> None:
    """Draw the meshes or clouds: OUT/CLASS/NAME/NN.png for every view, and a contact sheet."""
    from pointssl.recipes.data import render as recipe

    typer.echo(recipe.run(config))


@app.command("show")
@command_options(ShowConfig)
def show(config: ShowConfig) -> None:
    """Make a contact sheet, an interactive page to turn the clouds, and statistics."""
    from pointssl.recipes.data import show as recipe

    for path in recipe.run(config):
        typer.echo(path)
