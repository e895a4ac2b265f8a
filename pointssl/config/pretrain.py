"""Options of ``pointssl pretrain``."""
# ruff: noqa: RUF009 - `option` makes a dataclasses.field, which ruff can't see

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pointssl.config.groups import DataOptions, EncoderOptions, TrainingOptions
from pointssl.config.options import option


@dataclass(frozen=True, kw_only=True)
class PretrainConfig(TrainingOptions, EncoderOptions, DataOptions):
    """`pointssl pretrain`: learn an encoder without labels."""

    points: int = option(2048, "Points per cloud that the network sees.", "Data", low=1)
    views: int | None = option(
        None,
        "Render this many views of a cloud if the dataset has no pictures; "
        "default: 4 of shapes and primitives, else none.",
        "Data",
        low=0,
    )
    method: str = option("crosspoint", "Objective, or package.module:Class.", "Method")
    temperature: float = option(0.1, "Temperature of NT-Xent.", "Method", low=1e-4)
    within_weight: float = option(
        1.0, "Weight of the loss between two views of a cloud.", "Method", low=0
    )
    cross_weight: float = option(
        1.0, "Weight of the loss between cloud and picture.", "Method", low=0
    )
    projection: int = option(256, "Channels of the projected embedding.", "Method", low=2)
    augment: Literal["crosspoint", "none"] = option(
        "crosspoint", "Augmentation of the clouds.", "Method"
    )
    rotate: Literal["up", "so3", "none"] = option(
        "up", "Random rotation among the augmentations.", "Method"
    )

    image_encoder: str = option(
        "resnet50",
        "resnet18, resnet34, resnet50, timm:NAME, none, or package.module:Class.",
        "Image",
    )
    image_size: int = option(224, "Side of the pictures, pixels.", "Image", low=8)
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
        None, "Augmentation of the pictures; default: as --augment.", "Image"
    )
    freeze_image: bool = option(False, "Do not train the image encoder.", "Image")
    image_cache: bool = option(
        True, "Compute features of frozen, unaugmented pictures once, and keep them.", "Image"
    )

    run_dir: Path = option(
        Path("runs/pretrain"), "Folder of the run: checkpoints, logs, pictures.", "Run"
    )
