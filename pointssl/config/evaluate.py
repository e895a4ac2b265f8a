"""Options of the evaluations on frozen features; see :mod:`pointssl.config.groups`."""
# ruff: noqa: RUF009 - `option` makes a dataclasses.field, which ruff can't see

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pointssl.config.groups import CloudFeatureOptions
from pointssl.config.options import option


@dataclass(frozen=True, kw_only=True)
class ExtractConfig(CloudFeatureOptions):
    """Compute the features of a dataset, into the cache and a file."""

    split: Literal["train", "test", "both"] = option("both", "Which split.", "Data")
    seed: int = option(0, "Seed of the choice of points.", "Data", low=0)
    turn: Literal["none", "up", "so3"] = option(
        "none", "Turn every cloud by a fixed random rotation.", "Data"
    )
    out: Path | None = option(None, "Also write an .npz per split into this folder.", "Run")


@dataclass(frozen=True, kw_only=True)
class EvalOptions(CloudFeatureOptions):
    """What every evaluation on frozen features takes."""

    sampling: Literal["first", "random", "fps"] | None = option(  # type: ignore[assignment]
        None, "Which of the stored points are taken; default: as the protocol has it.", "Data"
    )
    seeds: int = option(3, "Point-sampling seeds under strict.", "Evaluation", low=1)
    turn_train: Literal["none", "up", "so3"] = option(
        "none", "Turn every train cloud by a fixed random rotation.", "Evaluation"
    )
    turn_test: Literal["none", "up", "so3"] = option(
        "none", "Turn every test cloud by a fixed random rotation.", "Evaluation"
    )
    cached_feats: bool = option(True, "Read and write the feature cache.", "Evaluation")
    baseline: bool = option(
        True, "Also evaluate the same network at random initialisation.", "Evaluation"
    )
    out: Path = option(Path("runs/eval"), "Folder of results.json and figures.", "Run")


@dataclass(frozen=True, kw_only=True)
class LabelOptions(EvalOptions):
    """What evaluations that learn from labels take."""

    label_fraction: float = option(
        1.0, "Stratified share of the train labels to use.", "Evaluation", low=1e-9, high=1
    )


@dataclass(frozen=True, kw_only=True)
class EvalAllConfig(LabelOptions):
    """Run every evaluation that trains no network, for one table."""

    out: Path = option(Path("runs/eval-all"), "Folder of results.json, .md, .tex and .png.", "Run")
