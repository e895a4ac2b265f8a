"""Options of parts: the keyword arguments of a backbone, method or augmentation, checked.

A part is a class or function that a registry names, or ``package.module:Name``. Its options are
its parameters that have a default or stand after ``*``: what can be given, of which kind, and what
it is where nothing is given, is read from the signature and written nowhere else.
"""

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, get_args, get_origin

import yaml

from pointssl_datasets.base.errors import UsageError
from pointssl_datasets.base.resolve import nearest


def parse_arguments(pairs: Sequence[str], flag: str) -> dict[str, Any]:
    """``["slope=0.1", "align=false"]`` to ``{"slope": 0.1, "align": False}``.

    Raises:
        UsageError: no ``=``, or a value that is not plain YAML.
    """
    arguments = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise UsageError(f"{flag} {pair!r}: expected KEY=VALUE")
        try:
            arguments[key] = _number(yaml.safe_load(value))
        except yaml.YAMLError:
            raise UsageError(
                f"{flag} {pair!r}: expected a plain value such as 3, true or [8,8]"
            ) from None
    return arguments


def _number(value: Any) -> Any:
    """``value``, or the number in a text such as ``1e-3``, which YAML 1.1 takes for a word."""
    if isinstance(value, str) and value[:1] in tuple("+-.0123456789"):
        try:
            return float(value)
        except ValueError:
            pass
    return value


def defaults_of(make: Callable[..., Any], inputs: Sequence[str] = ()) -> dict[str, Any]:
    """The default of every option of ``make``, as plain values of YAML and JSON.

    Args:
        inputs: parameters that are not options, such as the ``encoder`` of a method.
    """
    return {
        name: _plain(parameter.default)
        for name, parameter in _options(make, inputs).items()
        if parameter.default is not parameter.empty
    }


def check_arguments(
    kind: str,
    name: str,
    make: Callable[..., Any],
    arguments: Mapping[str, Any],
    *,
    flag: str,
    inputs: Sequence[str] = (),
) -> None:
    """Every argument is known, none that is needed is missing, and each is like its default.

    Args:
        kind, name: of the part, for the message: ``"backbone"``, ``"dgcnn"``.
        flag: the option that arguments are given by, for the message.
        inputs: parameters that are not options.

    Raises:
        UsageError: names the argument, and the nearest one that there is.
    """
    parameters = _options(make, inputs)
    for key, value in arguments.items():
        if key not in parameters:
            known = list(parameters)
            takes = f"It takes: {', '.join(known)}." if known else "It takes none."
            raise UsageError(
                f"{kind} {name!r} has no argument {key!r}{nearest(key, known) or '.'} {takes}"
            )
        choices = _choices(parameters[key].annotation)
        if choices and value not in choices:
            hint = nearest(str(value), [str(choice) for choice in choices])
            raise UsageError(
                f"{kind} {name!r}: {key} = {value!r}, choose one of "
                f"{', '.join(map(str, choices))}{hint}"
            )
        default = parameters[key].default
        if not choices and not _is_like(value, default):
            raise UsageError(
                f"{kind} {name!r}: {key} = {value!r}, expected a value like "
                f"{list(default) if isinstance(default, tuple) else default!r}."
            )
    missing = [
        key for key, p in parameters.items() if p.default is p.empty and key not in arguments
    ]
    if missing:
        raise UsageError(
            f"{kind} {name!r} needs {', '.join(missing)}: give {flag} {missing[0]}=VALUE."
        )


def _options(make: Callable[..., Any], inputs: Sequence[str]) -> dict[str, inspect.Parameter]:
    """The parameters that are options, by name."""
    several = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return {
        name: parameter
        for name, parameter in inspect.signature(make).parameters.items()
        if name not in inputs and parameter.kind not in several
    }


def _choices(annotation: Any) -> tuple[Any, ...]:
    """The words of a ``Literal``; none of any other type."""
    return get_args(annotation) if get_origin(annotation) is Literal else ()


def _plain(value: Any) -> Any:
    """Lists in place of tuples, as YAML and JSON have them."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def _is_like(value: Any, default: Any) -> bool:
    """Whether a value of the user's may stand for ``default``; what is a size is at least 1."""
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(value, bool) == isinstance(default, bool)
    if isinstance(default, int):
        return isinstance(value, int) and (value >= 1 or default < 1)
    if isinstance(default, float):
        return isinstance(value, (int, float)) and math.isfinite(value)
    if isinstance(default, str):
        return isinstance(value, str)
    if isinstance(default, (tuple, list)) and default:
        is_list = isinstance(value, (tuple, list)) and len(value) > 0
        return is_list and all(_is_like(item, default[0]) for item in value)
    return True
