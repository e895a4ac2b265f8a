"""Options of the evaluations on frozen features; see :mod:`pointssl.config.groups`."""
# ruff: noqa: RUF009 - `option` makes a dataclasses.field, which ruff can't see

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pointssl.config.groups import CloudFeatureOptions
from pointssl.config.options import option
from pointssl_datasets.base.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class ExtractConfig(CloudFeatureOptions):
    """`pointssl extract`: features of a dataset, into the cache and a file."""

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
    out: Path = option(Path("runs/eval"), "Folder of results.json and pictures.", "Run")


@dataclass(frozen=True, kw_only=True)
class LabelOptions(EvalOptions):
    """What evaluations that learn from labels take."""

    label_fraction: float = option(
        1.0, "Stratified share of the train labels that is used.", "Evaluation", low=1e-9, high=1
    )


@dataclass(frozen=True, kw_only=True)
class EvalSvmConfig(LabelOptions):
    """`pointssl eval-svm`: a linear SVM on frozen features."""

    protocol: Literal["strict", "crosspoint"] = option(
        "strict",
        "strict: standardised, C by cross-validation on train, several seeds; "
        "crosspoint: raw features, first points, fixed C.",
        "Evaluation",
    )
    c: float | None = option(
        None, "C of the SVM, instead of the protocol's.", "Evaluation", low=1e-9
    )
    kernel: Literal["linear", "rbf"] = option("linear", "Kernel of the SVM.", "Evaluation")
    all_protocols: bool = option(
        False,
        "Run every evaluation that trains no network, for one table (as eval-all).",
        "Evaluation",
    )
    out: Path = option(Path("runs/eval-svm"), "Folder of results.json and pictures.", "Run")


@dataclass(frozen=True, kw_only=True)
class EvalKnnConfig(LabelOptions):
    """`pointssl eval-knn`: nearest neighbours on frozen features."""

    neighbours: int | None = option(
        None, "How many vote; default: chosen by cross-validation on train.", "Evaluation", low=1
    )
    out: Path = option(Path("runs/eval-knn"), "Folder of results.json and pictures.", "Run")


@dataclass(frozen=True, kw_only=True)
class EvalLinearConfig(LabelOptions):
    """`pointssl eval-linear`: logistic regression on frozen features."""

    c: float | None = option(
        None,
        "C of the regression; default: chosen by cross-validation on train.",
        "Evaluation",
        low=1e-9,
    )
    out: Path = option(Path("runs/eval-linear"), "Folder of results.json and pictures.", "Run")


@dataclass(frozen=True, kw_only=True)
class EvalClusterConfig(EvalOptions):
    """`pointssl eval-cluster`: k-means on frozen features, against the classes."""

    starts: int = option(
        10, "Starts of k-means, of which the tightest counts.", "Evaluation", low=1
    )
    out: Path = option(Path("runs/eval-cluster"), "Folder of results.json and the picture.", "Run")


@dataclass(frozen=True, kw_only=True)
class EvalRetrievalConfig(EvalOptions):
    """`pointssl eval-retrieval`: each test shape asks for the shapes of its class."""

    out: Path = option(
        Path("runs/eval-retrieval"), "Folder of results.json and the picture.", "Run"
    )


@dataclass(frozen=True, kw_only=True)
class EvalFewshotConfig(EvalOptions):
    """`pointssl eval-fewshot`: classify from a few shapes of a few classes."""

    protocol: Literal["strict", "crosspoint", "point-mae"] = option(
        "strict",
        "strict: support from train, query from test, frozen features; crosspoint: both from "
        "train; point-mae: the whole network is fine-tuned on each support.",
        "Evaluation",
    )
    way: tuple[str, ...] = option(
        (), "Classes of an episode (repeatable); default: 5 and 10.", "Evaluation"
    )
    shot: tuple[str, ...] = option(
        (), "Support shapes of each class (repeatable); default: 10 and 20.", "Evaluation"
    )
    runs: int | None = option(
        None,
        "Episodes of each setting; default: 100 under strict, else 10.",
        "Evaluation",
        low=1,
    )
    episode_seed: int = option(0, "Seed of the episodes that are drawn.", "Evaluation", low=0)
    episodes: Path | None = option(
        None, "Use the episodes of this file, as an earlier evaluation wrote it.", "Evaluation"
    )
    epochs: int = option(
        150, "Epochs of fine-tuning on each support (point-mae).", "Evaluation", low=1
    )
    out: Path = option(
        Path("runs/eval-fewshot"), "Folder of results.json, episodes.json and the picture.", "Run"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for flag, values, low in (("--way", self.way, 2), ("--shot", self.shot, 1)):
            for value in values:
                if not value.isdecimal() or int(value) < low:
                    raise UsageError(f"{flag} {value}: must be a whole number, at least {low}")
        if self.episodes is not None and (self.way or self.shot or self.runs):
            raise UsageError(
                f"--episodes {self.episodes} says ways, shots and runs: leave --way, --shot and "
                "--runs out"
            )


@dataclass(frozen=True, kw_only=True)
class EvalAllConfig(LabelOptions):
    """`pointssl eval-all`: every evaluation that trains no network, in one table."""

    out: Path = option(Path("runs/eval-all"), "Folder of results.json, .md, .tex and .png.", "Run")
