"""Options of ``pointssl list``, ``pointssl demo`` and ``pointssl doctor``."""
# ruff: noqa: RUF009 - `option` makes a dataclasses.field, which ruff can't see

from dataclasses import dataclass
from pathlib import Path

from pointssl.config.groups import MachineOptions
from pointssl.config.options import Options, option


@dataclass(frozen=True, kw_only=True)
class DemoConfig(MachineOptions):
    """Pretrain and evaluate on generated shapes, in minutes and without any data."""

    seed: int = option(0, "Seed of everything.", "Run", low=0)
    out: Path = option(Path("runs/demo"), "Folder of the run and its figures.", "Run")


@dataclass(frozen=True, kw_only=True)
class ListPartsConfig(Options):
    """List the methods, backbones, datasets, probes and others that options name."""

    kind: str | None = option(
        None,
        "methods, backbones, datasets, probes, image-encoders or augmentations; default: all.",
        "Options",
        positional=True,
    )
    json: bool = option(False, "Print JSON.", "Options")


@dataclass(frozen=True, kw_only=True)
class DoctorConfig(Options):
    """Say what is installed, found and writable here, and what is missing."""

    data_root: Path | None = option(
        None, "Folder to look for datasets in; default: $POINTSSL_DATA, then ./data.", "Options"
    )
    cache_dir: Path | None = option(
        None, "Cache folder; default: $POINTSSL_CACHE, then ~/.cache/pointssl.", "Options"
    )
    json: bool = option(False, "Print JSON, e.g. for a bug report.", "Options")
