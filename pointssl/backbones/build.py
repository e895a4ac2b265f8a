"""Make a point encoder, with arguments that are checked."""

import contextlib
import inspect
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import yaml
from torch import nn

from pointssl.backbones import BACKBONES
from pointssl_datasets.base.errors import UsageError
from pointssl_datasets.base.resolve import nearest, resolve


def build_encoder(name: str, *, seed: int | None = None, **arguments: Any) -> nn.Module:
    """A randomly initialised point encoder.

    Args:
        name: a key of :data:`pointssl.backbones.BACKBONES`, or ``package.module:Class``.
        seed: of the initialisation; by default torch's global generator is used.
        arguments: of the encoder's class, e.g. ``k=20``.

    Raises:
        UsageError: unknown name or argument, or a value that the argument can't have.
    """
    make = resolve(name, BACKBONES, "backbone", nn.Module)
    _check_arguments(name, make, arguments)
    with contextlib.ExitStack() as stack:
        if seed is not None:
            stack.enter_context(torch.random.fork_rng(devices=[]))
            torch.manual_seed(seed)
        return make(**arguments)


def with_defaults(name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """``arguments`` beside the defaults of all others: a checkpoint outlives a change of them."""
    parameters = inspect.signature(resolve(name, BACKBONES, "backbone", nn.Module)).parameters
    defaults = {key: p.default for key, p in parameters.items() if p.default is not p.empty}
    return {**_plain(defaults), **arguments}


def _plain(value: Any) -> Any:
    """Lists in place of tuples, as YAML and JSON have them."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def _check_arguments(name: str, make: type[nn.Module], arguments: Mapping[str, Any]) -> None:
    """Every argument is known, none that is needed is missing, each is like its default."""
    parameters = inspect.signature(make).parameters
    known = list(parameters)
    for key, value in arguments.items():
        if key not in known:
            takes = f"It takes: {', '.join(known)}." if known else "It takes none."
            raise UsageError(
                f"backbone {name!r} has no argument {key!r}{nearest(key, known) or '.'} {takes}"
            )
        default = parameters[key].default
        if not _is_like(value, default):
            raise UsageError(
                f"backbone {name!r}: {key} = {value!r}, expected a value like "
                f"{list(default) if isinstance(default, tuple) else default!r}."
            )
    missing = [
        key for key, p in parameters.items() if p.default is p.empty and key not in arguments
    ]
    if missing:
        raise UsageError(
            f"backbone {name!r} needs {', '.join(missing)}: give --backbone-arg {missing[0]}=VALUE."
        )


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


def given_arguments(options: Any) -> dict[str, Any]:
    """Arguments of the encoder that stand in the options of a command: ``--k``, ``--embedding`` and
    each ``--backbone-arg``."""
    given = {"k": options.k, "embedding": options.embedding}
    given = {name: value for name, value in given.items() if value is not None}
    return {**given, **parse_arguments(options.backbone_arg)}


def parse_arguments(pairs: Sequence[str]) -> dict[str, Any]:
    """``["slope=0.1", "align=false"]`` to ``{"slope": 0.1, "align": False}``.

    Raises:
        UsageError: no ``=``, or a value that is not plain YAML.
    """
    arguments = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise UsageError(f"--backbone-arg {pair!r}: expected KEY=VALUE")
        try:
            arguments[key] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise UsageError(
                f"--backbone-arg {pair!r}: expected a plain value such as 3, true or [8,8]"
            ) from None
    return arguments
