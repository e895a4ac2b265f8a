"""The program `pointssl`: its commands, and how it ends."""

import os
import sys
import warnings
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer
from typer.main import get_command

from pointssl.version import __version__
from pointssl_cli.commands import add_commands
from pointssl_cli.failures import explain, report

app = typer.Typer(
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
add_commands(app)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"pointssl {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def program(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", hidden=True)] = False,
) -> None:
    """Self-supervised learning on point clouds.

    Pretrain an encoder without labels, then find out honestly how good it is.
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command line and exit: 0 done, 1 failed, 2 wrong usage, 130 interrupted.

    What the user can mend is said in one line. Anything else is a bug, and keeps its traceback;
    `pointssl --debug ...` shows one for everything.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    # torch remarks on a foreign file before it refuses it, and our own line says all there is.
    warnings.filterwarnings("ignore", "Detected pickle protocol", UserWarning)
    try:
        code = get_command(app).main(arguments, prog_name="pointssl", standalone_mode=False)
        sys.stdout.flush()
        if code == 130:  # some versions of Typer turn ^C into this number
            raise KeyboardInterrupt
    except BrokenPipeError:  # `pointssl ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except (Exception, KeyboardInterrupt) as error:
        failure = explain(error)
        if failure is None or "--debug" in arguments:
            raise
        report(failure)
        sys.exit(failure.code)
    sys.exit(code or 0)
