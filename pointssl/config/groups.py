"""Groups of options that commands share: data, encoder, machine, training.

One frozen dataclass per command. The command-line flag, the key in a YAML file and the saved
``config.yaml`` are all derived from a field here: its name, type, default and help. This module
imports no torch, so that ``--help`` is instant.
"""
# ruff: noqa: RUF009 - `option` makes a dataclasses.field, which ruff can't see

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pointssl.config.options import Options, option

AUTO = -1  # --batch-size auto


@dataclass(frozen=True, kw_only=True)
class SourceOptions(Options):
    """Which clouds."""

    data: str = option(
        "shapes",
        "Dataset, package.module:MyDataset of your own, or a mixture: concat:a+b*0.5.",
        "Data",
    )
    data_root: Path | None = option(
        None,
        "Folder of the dataset; default: $POINTSSL_DATA, then ./data.",
        "Data",
        changes_results=False,
    )
    up_axis: Literal["auto", "x", "y", "z"] = option(
        "auto", "Axis that points up in the files; clouds are turned y-up.", "Data"
    )
    skip_list: Path | None = option(
        None,
        "Clouds to leave out; default: pointssl-skip.tsv in the dataset's folder, if it is there.",
        "Data",
    )
    mesh_points: int | None = option(
        None, "Points drawn from every mesh and stored; default: 4096.", "Data", low=2
    )
    size: int | None = option(
        None, "Number of shapes to generate per split (shapes, primitives).", "Data", low=1
    )
    data_seed: int = option(0, "Seed of generated shapes.", "Data", low=0)


@dataclass(frozen=True, kw_only=True)
class DataOptions(SourceOptions):
    """Which clouds, and how they are served."""

    points: int = option(1024, "Points per cloud that the network sees.", "Data", low=1)
    sampling: Literal["first", "random", "fps"] = option(
        "random", "How the points of a cloud are chosen from those stored.", "Data"
    )
    normals: bool = option(False, "Feed normals to the encoder along with coordinates.", "Data")
    normalise: Literal["unit-sphere", "none"] = option(
        "unit-sphere", "Centre every stored cloud and scale it into the unit sphere.", "Data"
    )
    on_unpaired: Literal["error", "skip"] = option(
        "error", "What to do about a cloud without images, or an image without a cloud.", "Data"
    )
    cache_dir: Path | None = option(
        None,
        "Packed data, rendered views and features; default: $POINTSSL_CACHE, "
        "then ~/.cache/pointssl.",
        "Data",
        changes_results=False,
    )


@dataclass(frozen=True, kw_only=True)
class EncoderOptions(Options):
    """Which point encoder."""

    backbone: str = option("dgcnn", "Point encoder, or package.module:Class.", "Encoder")
    k: int | None = option(
        None, "Neighbours of a point; default: the backbone's own.", "Encoder", low=1
    )
    embedding: int | None = option(
        None,
        "Channels of the last layer, or width of the trunk; default: the backbone's own.",
        "Encoder",
        low=1,
    )
    backbone_arg: tuple[str, ...] = option(
        (), "Further argument of the encoder as KEY=VALUE (repeatable).", "Encoder", key_values=True
    )


@dataclass(frozen=True, kw_only=True)
class MachineOptions(Options):
    """Where it runs."""

    device: Literal["auto", "cpu", "cuda"] = option(
        "auto", "Device of every process.", "Machine", changes_results=False
    )
    threads: int | None = option(
        None,
        "CPU threads per process; default: the machine's cores divided by the processes.",
        "Machine",
        low=1,
        changes_results=False,
    )
    kernels: Literal["auto", "torch", "numba", "triton", "cluster"] = option(
        "auto",
        "What runs the point operations; auto: the fastest that imports.",
        "Machine",
        changes_results=False,
    )
    progress: bool = option(True, "Progress bars (on rank 0).", "Machine", changes_results=False)


@dataclass(frozen=True, kw_only=True)
class TrainingOptions(MachineOptions):
    """How to train, and where the run lives."""

    epochs: int = option(100, "Passes over the data.", "Training", low=1)
    batch_size: int = option(
        20,
        "Clouds per step over all processes; auto: the most that fit into memory.",
        "Training",
        low=2,
        words={"auto": AUTO},
    )
    accumulate: int = option(
        1,
        "Send a batch through the network in this many parts, for less memory; "
        "batch norms and negatives see a part.",
        "Training",
        low=1,
    )
    optimizer: Literal["adam", "adamw", "sgd"] = option("adam", "Optimiser.", "Training")
    lr: float = option(1e-3, "Peak learning rate.", "Training", low=0, high=1e38)
    lr_scale_base: int | None = option(
        None, "Multiply the learning rate by batch size / this.", "Training", low=1
    )
    weight_decay: float = option(1e-6, "Weight decay.", "Training", low=0)
    momentum: float = option(0.9, "Momentum of SGD.", "Training", low=0, high=1)
    schedule: Literal["cosine", "constant"] = option(
        "cosine", "How the learning rate changes over the run.", "Training"
    )
    schedule_by: Literal["step", "epoch", "after-epoch"] = option(
        "step",
        "When the learning rate changes: at each step, before each epoch (as in CrossPoint), or "
        "after it.",
        "Training",
    )
    warmup_epochs: float = option(0.0, "Epochs of linear warm-up.", "Training", low=0)
    min_lr: float = option(0.0, "Learning rate at the end of the cosine.", "Training", low=0)
    clip_grad: float | None = option(None, "Clip the gradient to this norm.", "Training", low=0)
    seed: int = option(0, "Seed of weights, order, augmentation.", "Training", low=0)

    workers: int = option(
        1,
        "Threads per process that read batches ahead; results do not depend on it.",
        "Machine",
        low=1,
        changes_results=False,
    )
    amp: Literal["off", "bf16", "fp16"] = option("off", "Mixed precision.", "Machine")
    compile: bool = option(False, "Train through torch.compile.", "Machine")
    checkpoint_activations: bool = option(
        False,
        "Recompute blocks in the backward pass, to save memory.",
        "Machine",
        changes_results=False,
    )
    sync_bn: bool = option(False, "Batch-norm statistics over all processes.", "Machine")
    max_time: float | None = option(
        None,
        "Stop cleanly after this many minutes, with a checkpoint.",
        "Machine",
        low=0,
        changes_results=False,
    )

    run_dir: Path = option(
        Path("runs/run"),
        "Folder of the run: checkpoints, logs, figures.",
        "Run",
        changes_results=False,
    )
    resume: Literal["auto", "never"] = option(
        "auto",
        "Continue the run in --run-dir, or refuse if there is one.",
        "Run",
        changes_results=False,
    )
    save_every: int = option(
        0,
        "Also write a checkpoint every this many steps (0: each epoch).",
        "Run",
        low=0,
        changes_results=False,
    )


@dataclass(frozen=True, kw_only=True)
class WeightsOptions(EncoderOptions, DataOptions):
    """An encoder with weights, and clouds that are served as it needs them."""

    weights: Path | None = option(
        None, "Checkpoint; without it the encoder is randomly initialised.", "Encoder"
    )
    k: int | None = option(
        None,
        "Neighbours of a point; default: as in the checkpoint, else the backbone's own.",
        "Encoder",
        low=1,
    )
    backbone: str | None = option(  # type: ignore[assignment]
        None, "Point encoder; default: as in the checkpoint, else dgcnn.", "Encoder"
    )
    embedding: int | None = option(
        None,
        "Channels of the last layer, or width of the trunk; default: as in the checkpoint.",
        "Encoder",
        low=1,
    )
    normals: bool | None = option(  # type: ignore[assignment]
        None, "Feed normals to the encoder; default: as in the checkpoint.", "Data"
    )
    points: int | None = option(  # type: ignore[assignment]
        None, "Points per cloud; default: as in the checkpoint, else 1024.", "Data", low=1
    )
    normalise: Literal["unit-sphere", "none"] | None = option(  # type: ignore[assignment]
        None, "Scale of the clouds; default: as in the checkpoint, else unit-sphere.", "Data"
    )


@dataclass(frozen=True, kw_only=True)
class FeatureOptions(MachineOptions, WeightsOptions):
    """Which encoder turns which clouds into features."""

    init_seed: int = option(0, "Seed of a random initialisation.", "Encoder", low=0)
    batch_size: int = option(32, "Clouds per step, over all processes together.", "Machine", low=1)


@dataclass(frozen=True, kw_only=True)
class CloudFeatureOptions(FeatureOptions):
    """Which feature of a cloud."""

    pool: Literal["max", "mean", "max+mean", "cls", "cls+max"] | None = option(
        None,
        "How the features of a layer are pooled; default: the backbone's own cloud feature.",
        "Encoder",
    )
    layer: str | None = option(
        None,
        "Layer whose features are pooled (`pointssl inspect` lists them); default: the last.",
        "Encoder",
    )
