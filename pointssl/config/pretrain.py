"""Options of ``pointssl pretrain``."""
# ruff: noqa: RUF009 - `option` makes a dataclasses.field, which ruff can't see

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from pointssl.config.groups import DataOptions, EncoderOptions, TrainingOptions
from pointssl.config.options import option
from pointssl_datasets.base.errors import UsageError

METHOD_FLAGS = ("temperature", "within_weight", "cross_weight", "projection")
"""Options of methods that have a flag of their own: ``--temperature 0.1`` says what ``--method-arg
temperature=0.1`` does, for every method that has an option of this name."""

OF_METHOD = "default: the method's own"


@dataclass(frozen=True, kw_only=True)
class PretrainConfig(TrainingOptions, EncoderOptions, DataOptions):
    """Pretrain a point encoder without labels.

    Alone or on many processes: `torchrun --nproc-per-node 4 -m pointssl pretrain ...`.
    Started again with the same --run-dir, it continues where it was stopped.
    """

    points: int = option(2048, "Points per cloud that the network sees.", "Data", low=1)
    views: int | None = option(
        None,
        "Render this many views of a cloud if the dataset has no images; "
        "default: 4 of shapes and primitives, else none.",
        "Data",
        low=0,
    )
    method: str = option("crosspoint", "Objective, or package.module:Class.", "Method")
    method_arg: tuple[str, ...] = option(
        (), "Option of the method as NAME=VALUE (repeatable).", "Method", key_values=True
    )
    temperature: float | None = option(
        None, f"Temperature of NT-Xent; {OF_METHOD}.", "Method", low=1e-4
    )
    within_weight: float | None = option(
        None, f"Weight of the loss between two views of a cloud; {OF_METHOD}.", "Method", low=0
    )
    cross_weight: float | None = option(
        None, f"Weight of the loss between cloud and image; {OF_METHOD}.", "Method", low=0
    )
    projection: int | None = option(
        None, f"Channels of the projected embedding; {OF_METHOD}.", "Method", low=2
    )
    augment: str = option(
        "auto",
        "Augmentation of the clouds: crosspoint, scale-shift, strl, none, or "
        "package.module:function; auto: the method's own.",
        "Method",
    )
    augment_arg: tuple[str, ...] = option(
        (), "Option of the augmentation as NAME=VALUE (repeatable).", "Method", key_values=True
    )
    rotate: Literal["auto", "up", "so3", "none"] = option(
        "auto",
        "Random rotation among the augmentations; auto: the augmentation's own.",
        "Method",
    )

    image_encoder: str = option(
        "auto",
        "resnet18, resnet34, resnet50, timm:NAME, none, or package.module:Class; auto: the "
        "method's own.",
        "Image",
    )
    image_size: int = option(224, "Side of the images, pixels.", "Image", low=8)
    image_weights: Path | None = option(
        None, "Weights of the image encoder (torchvision's keys; timm's of timm:NAME).", "Image"
    )
    image_pretrained: bool = option(
        False, "Fetch the published weights of timm:NAME from the hub, or its cache.", "Image"
    )
    image_layers: int | None = option(
        None, "Keep the first blocks or stages of timm:NAME; default: all.", "Image", low=1
    )
    image_augment: Literal["crosspoint", "none"] | None = option(
        None,
        "Augmentation of the images; default: none where --augment is none, else crosspoint.",
        "Image",
    )
    freeze_image: bool = option(False, "Do not train the image encoder.", "Image")
    image_cache: bool = option(
        True,
        "Compute the features of unaugmented images once if the encoder is frozen, and keep them.",
        "Image",
        changes_results=False,
    )

    probe_every: int = option(
        0, "Score the frozen encoder every so many epochs, and after the last (0: never).", "Probe",
        low=0,
    )  # fmt: skip
    probe: str = option(
        "knn",
        "Probes that score it, e.g. knn,svm (`pointssl list probes`), by cross-validation on the "
        "train split of --probe-data.",
        "Probe",
    )
    probe_data: str | None = option(
        None, "Labelled dataset of the probe; default: --data.", "Probe"
    )
    probe_root: Path | None = option(
        None, "Its folder; default: $POINTSSL_DATA, then ./data.", "Probe", changes_results=False
    )
    probe_points: int | None = option(
        None, "Points per cloud that the probe sees; default: --points.", "Probe", low=1
    )
    probe_size: int | None = option(
        None, "Number of shapes to generate for the probe (shapes).", "Probe", low=1
    )
    keep: Literal["last", "best"] = option(
        "last",
        "best: beside last.pt keep best.pt, the epoch with the best score of the first probe.",
        "Probe",
    )

    decay_all: bool = option(
        True,
        "Weight decay on biases, norms and tokens too; --no-decay-all spares them.",
        "Training",
    )
    run_dir: Path = option(
        Path("runs/pretrain"),
        "Folder of the run: checkpoints, logs, figures.",
        "Run",
        changes_results=False,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.probe_every:
            return
        for field in fields(self):
            value = getattr(self, field.name)
            if field.metadata["group"] == "Probe" and value != field.default:
                flag = "--" + field.name.replace("_", "-")
                raise UsageError(f"{flag} {value} needs --probe-every, e.g. --probe-every 10")
