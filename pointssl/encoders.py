"""Make a point encoder, or load one with everything that its numbers depend on."""

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn

from pointssl.backbones import BACKBONES
from pointssl.engine.checkpoint import load_checkpoint, load_weights
from pointssl_datasets.errors import UsageError
from pointssl_datasets.resolve import nearest, resolve


def build_encoder(name: str, *, seed: int | None = None, **arguments: Any) -> nn.Module:
    """A randomly initialised point encoder.

    Args:
        name: a key of :data:`pointssl.backbones.BACKBONES`, or ``package.module:Class``.
        seed: of the initialisation; by default torch's global generator is used.
        arguments: of the encoder's class, e.g. ``k=20``.

    Raises:
        UsageError: unknown name or argument.
    """
    make = resolve(name, BACKBONES, "backbone")
    known = list(inspect.signature(make).parameters)
    for key in arguments:
        if key not in known:
            raise UsageError(
                f"backbone {name!r} has no argument {key!r}{nearest(key, known)} "
                f"It takes: {', '.join(known)}."
            )
    if seed is None:
        return make(**arguments)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make(**arguments)


def load_encoder(path: str | Path, **overrides: Any) -> nn.Module:
    """The encoder of a pointssl checkpoint, in evaluation mode.

    Name and arguments travel in the checkpoint; ``overrides`` replace arguments, e.g. ``k=40``.

    Raises:
        UserError: not a checkpoint of ours, damaged, or weights that do not fit.
    """
    path = Path(path)
    checkpoint = load_checkpoint(path)
    facts = checkpoint["facts"]
    encoder = build_encoder(facts["backbone"], **{**facts["backbone_args"], **overrides})
    load_weights(encoder, checkpoint["encoder"], path)
    return encoder.eval()


def parse_arguments(pairs: Sequence[str]) -> dict[str, Any]:
    """``["slope=0.1", "align=false"]`` to ``{"slope": 0.1, "align": False}``.

    Raises:
        UsageError: no ``=``.
    """
    arguments = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise UsageError(f"--backbone-arg {pair!r}: expected KEY=VALUE")
        arguments[key] = yaml.safe_load(value)
    return arguments
