"""Options of the commands that neither train nor evaluate: inspect, predict, export, import, zoo,
list, demo, bench and doctor.
"""
# ruff: noqa: RUF009 - `option` makes a dataclasses.field, which ruff can't see

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pointssl.config.groups import FeatureOptions, MachineOptions
from pointssl.config.options import Options, option
from pointssl_datasets.base.errors import UsageError
from pointssl_datasets.base.resolve import nearest

SECTIONS = ("kernels", "backbones", "steps", "loading", "svm")  # rows of one table
PROGRAMS = ("costs", "packing", "communication")  # tables of their own, only on request


@dataclass(frozen=True, kw_only=True)
class InspectConfig(FeatureOptions):
    """Show an encoder at work: what its modules cost, and its layers in numbers and colours."""

    networks: tuple[str, ...] = option(
        (),
        "A checkpoint, or a backbone at random initialisation. With --compare two; the second may "
        "be `random`: the first one at random initialisation.",
        "Encoder",
        positional=True,
    )
    compare: bool = option(
        False, "Two networks side by side on the same clouds, with the CKA of their layers.", "Run"
    )
    depth: int = option(1, "Print modules down to this depth below the encoder.", "Run", low=0)
    clouds: int = option(
        8, "How many clouds to pass through, from as many classes as possible.", "Data", low=1
    )
    split: str = option("train", "Split to take them from.", "Data")
    seed: int = option(0, "Seed of the choice of clouds and points.", "Data", low=0)
    passes: int = option(5, "Forward passes; the time is their median.", "Run", low=1)
    out: Path = option(Path("runs/inspect"), "Folder of inspect.json and the figures.", "Run")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.networks and self.weights is not None:
            raise UsageError(
                f"--weights {self.weights}: give the checkpoint once, without --weights"
            )
        if self.compare and len(self.networks) != 2:
            raise UsageError(
                f"--compare needs two networks, got {len(self.networks)}: "
                "pointssl inspect --compare runs/a/checkpoints/last.pt random"
            )
        if not self.compare and len(self.networks) > 1:
            raise UsageError(f"{len(self.networks)} networks: add --compare, which takes two")
        if not self.networks and self.weights is None and self.backbone is None:
            raise UsageError("nothing to inspect: give a checkpoint, or --backbone NAME")


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


@dataclass(frozen=True, kw_only=True)
class BenchConfig(MachineOptions):
    """Measure what the fast paths save on this machine, in time and memory."""

    only: str | None = option(
        None,
        f"Sections, with commas between them; default: {','.join(SECTIONS)}; "
        f"on request: {','.join(PROGRAMS)}.",
        "Run",
    )
    quick: bool = option(False, "Small sizes, in under a minute, to see that it runs.", "Run")
    full: bool = option(
        False, "The SVM and, on a CPU, the CrossPoint step at full size; half an hour.", "Run"
    )
    scale: bool = option(
        False, "Instead, measure throughput and memory as points, clouds and processes grow.", "Run"
    )
    cell_memory: float | None = option(
        None,
        "Memory in GiB that each cell of --scale may use; default: half of what is free.",
        "Run",
        low=0.1,
    )
    cell_time: float = option(60.0, "Seconds that each cell of --scale may take.", "Run", low=1)
    out: Path = option(Path("runs/bench"), "Folder of the tables, JSON and figures.", "Run")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.quick and self.full:
            raise UsageError("--quick and --full: choose one of them")
        if self.scale and (self.only is not None or self.full):
            raise UsageError("--scale measures one thing; leave --only and --full out")
        choices = [*SECTIONS, *PROGRAMS]
        for name in self._chosen:
            if name not in choices:
                raise UsageError(
                    f"--only {name!r}: choose from {', '.join(choices)}, with commas between "
                    f"several{nearest(name, choices)}"
                )

    @property
    def _chosen(self) -> tuple[str, ...]:
        if self.only is None:
            return SECTIONS
        return tuple(part.strip() for part in self.only.split(","))

    @property
    def sections(self) -> tuple[str, ...]:
        """The chosen sections of the main table."""
        return tuple(name for name in self._chosen if name not in PROGRAMS)

    @property
    def programs(self) -> tuple[str, ...]:
        """The chosen programs with tables of their own."""
        return tuple(name for name in self._chosen if name in PROGRAMS)

    @property
    def level(self) -> str:
        """Which sizes."""
        return "quick" if self.quick else "full" if self.full else "default"
