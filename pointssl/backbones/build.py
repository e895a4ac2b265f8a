"""Build a point encoder from its name and validated arguments."""

import contextlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from pointssl.backbones import BACKBONES
from pointssl.config.arguments import check_arguments, defaults_of, parse_arguments
from pointssl_datasets.base.resolve import resolve


def build_encoder(name: str, *, seed: int | None = None, **arguments: Any) -> nn.Module:
    """Build a randomly initialised point encoder.

    Args:
        name: a key of :data:`pointssl.backbones.BACKBONES`, or ``package.module:Class``.
        seed: seed of the initialisation; by default torch's global generator is used.
        arguments: keyword arguments of the encoder's constructor, e.g. ``k=20``.

    Raises:
        UsageError: unknown name or argument, or an invalid value.
    """
    make = resolve(name, BACKBONES, "backbone", nn.Module)
    check_arguments("backbone", name, make, arguments, flag="--backbone-arg")
    with contextlib.ExitStack() as stack:
        if seed is not None:
            stack.enter_context(torch.random.fork_rng(devices=[]))
            torch.manual_seed(seed)
        return make(**arguments)


def with_defaults(name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Complete ``arguments`` with the defaults of all others.

    Checkpoints record the result, so that they still load after a default has changed.
    """
    return {**defaults_of(resolve(name, BACKBONES, "backbone", nn.Module)), **arguments}


def given_arguments(options: Any) -> dict[str, Any]:
    """Collect the encoder arguments from a command's options: ``--k``, ``--embedding`` and each
    ``--backbone-arg``."""
    given = {"k": options.k, "embedding": options.embedding}
    given = {name: value for name, value in given.items() if value is not None}
    return {**given, **parse_arguments(options.backbone_arg, "--backbone-arg")}
