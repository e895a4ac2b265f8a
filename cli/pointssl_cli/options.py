"""A Typer command from a config dataclass: no option is written down twice."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import MISSING, fields
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import typer

from pointssl.config.options import Options, make


def command_options(
    config_class: type[Options],
) -> Callable[[Callable[[Any], None]], Callable[..., None]]:
    """Decorator: ``command(config)`` becomes a function that Typer shows one flag per field of.

    Values come from the flags that were given, then ``--config FILE``, then the field's default.

    ::

        @command_options(PretrainConfig)
        def pretrain(config: PretrainConfig) -> None:
            "Learn an encoder without labels."
    """

    def decorate(command: Callable[[Any], None]) -> Callable[..., None]:
        @functools.wraps(command)
        def with_flags(context: typer.Context, config_file: Path | None, **values: Any) -> None:
            given = {name: value for name, value in values.items() if _was_given(context, name)}
            command(make(config_class, given, config_file))

        with_flags.__signature__ = signature(config_class)  # type: ignore[attr-defined]
        return with_flags

    return decorate


def _was_given(context: typer.Context, name: str) -> bool:
    """Whether the user typed the flag; a default that Typer filled in must not beat the file."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def signature(config_class: type[Options]) -> inspect.Signature:
    """Parameters for Typer: the context, ``--config``, and every field of the dataclass."""
    hints = get_type_hints(config_class)
    parameters = [
        _parameter("context", typer.Context),
        _parameter(
            "config_file",
            Annotated[
                Path | None,
                typer.Option("--config", help="YAML file of options; flags override it."),
            ],
            None,
        ),
    ]
    for field in fields(config_class):
        hint, metavar = _on_the_command_line(hints[field.name])
        default: Any = field.default
        if field.metadata["words"]:  # the config reads the number
            hint, metavar = str | None, "|".join(("INTEGER", *field.metadata["words"]))
            default = None if default is None else str(default)
        shown: dict[str, Any] = {"help": field.metadata["help"], "metavar": metavar}
        if metavar:
            shown["autocompletion"] = _beginning_with(metavar.split("|"))
        if field.metadata["positional"]:
            info: Any = typer.Argument(**{**shown, "metavar": field.name.upper()})
        else:
            flag = field.metadata["flag"] or _flag(field.name, hint)
            info = typer.Option(flag, **shown, rich_help_panel=field.metadata["group"])
        if default is MISSING:  # may still come from the file: the config says when it is missing
            hint, default = hint | None, None
        elif isinstance(default, tuple):
            default = list(default)
        parameters.append(_parameter(field.name, Annotated[hint, info], default))
    return inspect.Signature(parameters)


def _parameter(name: str, hint: Any, default: Any = inspect.Parameter.empty) -> inspect.Parameter:
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, kind, annotation=hint, default=default)


def _on_the_command_line(hint: Any) -> tuple[Any, str | None]:
    """What Typer parses for a field of this type, and what help shows if not the type's name.

    Choices are parsed as text: the config checks them and names the nearest, for YAML alike.
    """
    inner = [kind for kind in get_args(hint) if kind is not NoneType]
    choices = inner[0] if get_origin(hint) in (Union, UnionType) else hint
    if get_origin(choices) is Literal:
        optional = choices is not hint
        return (str | None if optional else str), "|".join(get_args(choices))
    repeated = get_origin(hint) is tuple
    return (list[get_args(hint)[0]] if repeated else hint), None  # type: ignore[misc]


def _beginning_with(words: list[str]) -> Callable[[str], list[str]]:
    """What the shell offers for a value of which ``incomplete`` has been typed."""

    def complete(incomplete: str) -> list[str]:
        return [word for word in words if word.startswith(incomplete) and word.islower()]

    return complete


def _flag(name: str, hint: Any) -> str:
    """``--batch-size``, ``--c``; ``--amp/--no-amp`` for what is on or off."""
    flag = name.replace("_", "-")
    return f"--{flag}/--no-{flag}" if hint in (bool, bool | None) else f"--{flag}"
