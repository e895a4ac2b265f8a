"""Every command's flags, and what a flag takes, as Typer knows them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from typer.main import get_command

from pointssl_cli.main import app

OLD_NAMES = {"integer": "int", "text": "str", "float": "float", "boolean": "bool", "path": "Path"}


def commands(command: Any = None, name: str = "") -> Iterator[tuple[str, Any]]:
    """``("finetune cls", its Typer command)`` of all that can be typed, groups included."""
    command = command or get_command(app)
    yield name, command
    for word, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, f"{name} {word}".strip())


def flags(command: Any) -> dict[str, dict[str, Any]]:
    """Flag, or name of a positional -> what it takes, its default, and whether it may be repeated.

    A flag that is on or off stands as ``--x/--no-x``.
    """
    found = {}
    for parameter in command.params:
        if parameter.name == "help":
            continue
        name = "/".join([*parameter.opts, *parameter.secondary_opts])
        default = parameter.default
        found[name] = {
            "takes": _takes(parameter),
            "default": str(default) if isinstance(default, Path) else default,
            "repeated": bool(parameter.multiple or parameter.nargs != 1),
        }
    return found


def _takes(parameter: Any) -> str:
    """``"int"``, ``"Path"``, or the choices, ``"cpu|cuda"``."""
    metavar = parameter.metavar
    if metavar and parameter.param_type_name == "option":
        return metavar
    kind = getattr(parameter, "type_descriptor", None)
    if kind is None:  # Typer on top of click
        return OLD_NAMES.get(parameter.type.name, parameter.type.name)
    inner = get_args(kind.annotation)
    return (inner[0] if inner else kind.annotation).__name__
