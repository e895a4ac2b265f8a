"""Options of ``pointssl predict`` and ``pointssl export``."""
# ruff: noqa: RUF009 - `option` makes a dataclasses.field, which ruff can't see

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pointssl.config.groups import MachineOptions
from pointssl.config.options import Options, option


@dataclass(frozen=True, kw_only=True)
class PredictConfig(MachineOptions):
    """Predict classes, parts or embeddings of your own clouds and meshes, and draw them."""

    files: tuple[Path, ...] = option(
        ..., "Clouds, meshes, or folders of them.", "Data", positional=True
    )
    up_axis: Literal["x", "y", "z"] = option("y", "Axis that points up in the files.", "Data")
    mesh_points: int = option(
        4096, "Points drawn from every mesh and then predicted.", "Data", low=2
    )
    estimate_normals: bool = option(
        False, "For a network that takes normals: estimate them where a file has none.", "Data"
    )
    weights: Path = option(
        ..., "Checkpoint of `finetune` or `pretrain`, or a public one (see `zoo`).", "Network"
    )
    backbone: str | None = option(
        None, "package.module:Class, if the checkpoint holds an encoder of your own.", "Network"
    )
    category: str | None = option(
        None,
        "Category of all objects; default: the name of each file's folder, or any where the "
        "network was trained with --category none.",
        "Network",
    )
    votes: int = option(1, "Predict this many samplings of every cloud, and average.", "Network",
        low=1,
    )  # fmt: skip
    sampling: Literal["first", "random", "fps"] = option(
        "random", "Which points of a cloud the network sees.", "Network"
    )
    seed: int = option(0, "Seed of the choice of points.", "Network", low=0)
    batch_size: int = option(16, "Clouds per step.", "Machine", low=1)
    limit: int = option(
        64, "Clouds on the page and the contact sheet, spread evenly over all.", "Run", low=0
    )
    out: Path = option(Path("runs/predict"), "Folder of the results.", "Run")


@dataclass(frozen=True, kw_only=True)
class ExportConfig(Options):
    """Export a network as ONNX or as a torch program, and check that it computes the same."""

    weights: Path = option(
        ..., "Checkpoint of `finetune` or `pretrain`, or a public one (see `zoo`).", "Network"
    )
    backbone: str | None = option(
        None, "package.module:Class, if the checkpoint holds an encoder of your own.", "Network"
    )
    out: Path = option(..., "File to write: model.onnx or model.pt2.", "Run")
    format: Literal["onnx", "torch"] | None = option(
        None, "ONNX, or torch.export; default: by the suffix of --out.", "Run"
    )
    dynamic_batch: bool = option(True, "Take any number of clouds at a time.", "Run")
    batch_size: int = option(1, "Clouds at a time with --no-dynamic-batch.", "Run", low=1)
    seed: int = option(0, "Seed of the random clouds that the file is tested on.", "Run", low=0)
