"""Options of the ``pointssl finetune`` commands.

What stands as None is filled in by the protocol: see :mod:`pointssl.recipes.finetune.presets`.
"""
# ruff: noqa: RUF009 - `option` makes a dataclasses.field, which ruff can't see
# mypy: disable-error-code="assignment"

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pointssl.config.groups import AUTO, TrainingOptions, WeightsOptions
from pointssl.config.options import option
from pointssl_datasets.base.errors import UsageError

PRESET = "default: as the protocol has it"


@dataclass(frozen=True, kw_only=True)
class FinetuneOptions(TrainingOptions, WeightsOptions):
    """What all fine-tuning shares."""

    weights: Path | None = option(
        None, "Checkpoint to start from; without it everything is trained from scratch.", "Encoder"
    )
    sampling: Literal["first", "random", "fps"] | None = option(
        None, f"Which of the stored points are taken; {PRESET}.", "Data"
    )
    label_fraction: float = option(
        1.0, "Stratified share of the train clouds to use.", "Data", low=1e-9, high=1
    )
    val_share: float | None = option(
        None,
        "Share of train that is held out to choose the epoch, where there is no public val split; "
        "0: the last epoch is taken, whatever there is. " + PRESET.capitalize() + ".",
        "Data",
        low=0,
        high=0.9,
    )
    val_every: int = option(1, "Validate every this many epochs.", "Training", low=1)

    epochs: int | None = option(None, f"Passes over the data; {PRESET}.", "Training", low=1)
    batch_size: int | None = option(
        None,
        f"Clouds per step over all processes; auto: the most that fit into memory; {PRESET}.",
        "Training",
        low=2,
        words={"auto": AUTO},
    )
    optimizer: Literal["adam", "adamw", "sgd"] | None = option(
        None, f"Optimiser; {PRESET}.", "Training"
    )
    lr: float | None = option(
        None, f"Peak learning rate; {PRESET}.", "Training", low=1e-12, high=1e38
    )
    weight_decay: float | None = option(None, f"Weight decay; {PRESET}.", "Training", low=0)
    decay_all: bool | None = option(
        None, f"Weight decay on biases and norms too; {PRESET}.", "Training"
    )
    schedule_by: Literal["step", "epoch", "after-epoch"] | None = option(
        None, f"When the learning rate moves; {PRESET}.", "Training"
    )
    warmup_epochs: float | None = option(
        None, f"Epochs of linear warm-up; {PRESET}.", "Training", low=0
    )
    min_lr: float | None = option(
        None, f"Learning rate at the end of the cosine; {PRESET}.", "Training", low=0
    )
    clip_grad: float | None = option(
        None, f"Clip the gradient to this norm; {PRESET}.", "Training", low=0
    )
    smoothing: float | None = option(
        None, f"Label smoothing; {PRESET}.", "Training", low=0, high=0.5
    )
    dropout: float | None = option(
        None, f"Dropout of the head; {PRESET}.", "Training", low=0, high=0.99
    )
    augment: Literal["none", "scale-shift"] | None = option(
        None, f"Augmentation of the clouds; {PRESET}.", "Training"
    )
    rotate: Literal["none", "up", "so3"] = option(
        "none", "Random rotation among the augmentations.", "Training"
    )
    freeze_backbone: bool = option(
        False, "Train the head alone; the encoder stays as it is.", "Training"
    )
    head_lr: float | None = option(
        None, "Peak learning rate of the head; default: --lr.", "Training", low=0, high=1e38
    )
    layer_decay: float = option(
        1.0,
        "Each layer of the encoder learns at this fraction of the next layer's rate.",
        "Training",
        low=1e-3,
        high=1,
    )
    seeds: int = option(
        1, "Run with --seed, --seed + 1, ..., and report mean and deviation.", "Run", low=1
    )
    votes: int = option(
        1,
        "Also report the mean of this many passes, each over other points and scaled at random.",
        "Evaluation",
        low=1,
        changes_results=False,
    )
    pictures: bool = option(
        True, "Draw figures of the results.", "Evaluation", changes_results=False
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.freeze_backbone and self.layer_decay != 1:
            raise UsageError(
                f"--layer-decay {self.layer_decay}: with --freeze-backbone no layer learns; leave "
                "one of the two out"
            )


@dataclass(frozen=True, kw_only=True)
class FinetunePartsegConfig(FinetuneOptions):
    """Fine-tune for part segmentation: a part for every point of an object.

    Alone or under torchrun; started again with the same --run-dir, it continues.
    """

    protocol: Literal["strict", "crosspoint"] = option(
        "strict",
        "strict: epoch chosen on validation, every original point counts, masked argmax; "
        "crosspoint: train and val together, last epoch, free argmax.",
        "Evaluation",
    )
    category: Literal["given", "none"] = option(
        "given", "Whether the head is given the category of the object.", "Task"
    )
    class_choice: str | None = option(
        None, "Train and test on this category alone, its parts numbered from 0.", "Task"
    )
    run_dir: Path = option(
        Path("runs/partseg"),
        "Folder of the run: checkpoints, logs, figures.",
        "Run",
        changes_results=False,
    )


@dataclass(frozen=True, kw_only=True)
class FinetuneClsConfig(FinetuneOptions):
    """Fine-tune for classification: a class for every cloud. --freeze-backbone is a linear probe.

    Alone or under torchrun; started again with the same --run-dir, it continues.
    """

    protocol: Literal["strict", "dgcnn", "point-mae"] = option(
        "strict",
        "strict: epoch chosen on validation; dgcnn (CrossPoint's too) and point-mae: their "
        "schedules, last epoch.",
        "Evaluation",
    )
    head: Literal["mlp", "linear"] | None = option(
        None, "Head; default: linear with --freeze-backbone (a linear probe), else mlp.", "Task"
    )
    run_dir: Path = option(
        Path("runs/cls"),
        "Folder of the run: checkpoints, logs, figures.",
        "Run",
        changes_results=False,
    )


@dataclass(frozen=True, kw_only=True)
class FinetuneSemsegConfig(FinetuneOptions):
    """Fine-tune for scene segmentation on S3DIS: a class for every point of a room.

    Alone or under torchrun; started again with the same --run-dir, it continues.
    """

    data: str = option("s3dis", "Dataset of rooms: s3dis.", "Data")
    normalise: Literal["none"] = option("none", "Blocks stay in metres.", "Data")
    points: int | None = option(
        None,
        "Points per block that the network sees; default: as in the checkpoint, else 4096.",
        "Data",
        low=1,
    )
    label_fraction: float = option(
        1.0, "Share of the train rooms to use.", "Data", low=1e-9, high=1
    )
    val_share: float | None = option(
        None,
        "Share of the train rooms that is held out to choose the epoch; 0: the last epoch is "
        f"taken. {PRESET.capitalize()}.",
        "Data",
        low=0,
        high=0.9,
    )
    test_root: Path | None = option(
        None, "Folder of the test area, e.g. whole rooms; default: --data-root.", "Data"
    )
    channels: Literal["xyz", "xyz-rgb", "xyz-rgb-place"] | None = option(
        None,
        "What the network sees of a point; default: what the checkpoint's encoder takes, else all: "
        "coordinates in the block, colour, place in the room.",
        "Data",
    )
    block_size: float = option(
        1.0, "Side of the blocks that rooms are cut into, metres.", "Data", low=0.01
    )
    train_stride: float | None = option(
        None,
        "Distance between blocks in training, metres; default: --block-size.",
        "Data",
        low=0.01,
    )
    test_stride: float = option(
        0.5,
        "Distance between blocks in the test, metres; overlapping predictions are summed.",
        "Evaluation",
        low=0.01,
    )
    rotate: Literal["none", "up"] = option(
        "none", "Turn every block, and its position in the room, about the up axis.", "Training"
    )
    protocol: Literal["strict", "dgcnn"] = option(
        "strict",
        "strict: epoch chosen on rooms held out of train; dgcnn: its schedule, last epoch.",
        "Evaluation",
    )
    test_area: int = option(5, "Area held out for the test.", "Evaluation", low=1, high=6)
    six_fold: bool = option(
        False, "Hold out each of the six areas in turn, and sum the counts.", "Evaluation"
    )
    run_dir: Path = option(
        Path("runs/semseg"),
        "Folder of the run: checkpoints, logs, figures.",
        "Run",
        changes_results=False,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("train_stride", "test_stride"):
            stride = getattr(self, name)
            if stride is not None and stride > self.block_size:
                raise UsageError(
                    f"--{name.replace('_', '-')} {stride:g} leaves gaps between blocks of "
                    f"--block-size {self.block_size:g}: it can be as large at most"
                )
        if self.votes > 1:
            raise UsageError(
                f"--votes {self.votes}: the overlapping blocks of a room vote already; lower "
                "--test-stride for more votes"
            )
