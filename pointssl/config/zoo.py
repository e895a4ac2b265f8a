"""Options of ``pointssl import`` and ``pointssl zoo``."""
# ruff: noqa: RUF009 - `option` makes a dataclasses.field, which ruff can't see

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pointssl.config.options import Options, option


@dataclass(frozen=True, kw_only=True)
class ImportConfig(Options):
    """Turn another project's checkpoint into one of ours: the encoder, and what it needs."""

    path: Path = option(..., "Checkpoint of another project, or of ours.", "Data", positional=True)
    out: Path = option(
        ..., "File to write: a name that ends in .pt or .safetensors.", "Run", positional=True
    )
    backbone_arg: tuple[str, ...] = option(
        (), "Argument of the encoder as KEY=VALUE, instead of the recipe's (repeatable).", "Encoder"
    )
    points: int | None = option(
        None, "Points per cloud, instead of the recipe's.", "Encoder", low=1
    )
    normalise: Literal["unit-sphere", "none"] | None = option(
        None, "Scale of the clouds, instead of the recipe's.", "Encoder"
    )
    up_axis: Literal["x", "y", "z"] | None = option(
        None, "Axis that pointed up in the clouds it was trained on.", "Encoder"
    )


@dataclass(frozen=True, kw_only=True)
class ZooConfig(Options):
    """List the public checkpoints that every --weights takes, and what is known of them."""

    json: bool = option(False, "Print JSON.", "Options")
