"""A fine-tuned network out of its checkpoint, with what is needed to use it."""

import sys
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from pointssl.backbones.build import build_encoder
from pointssl.checkpoints.encoder import build_fitting
from pointssl.checkpoints.metadata import Metadata, encoder_metadata
from pointssl.checkpoints.task_metadata import check_task_metadata
from pointssl.checkpoints.zoo.opening import open_checkpoint
from pointssl.tasks import TASKS
from pointssl_datasets.base.errors import UserError
from pointssl_datasets.base.resolve import resolve

NEEDED = ("task", "task_args", "classes", "parts", "points", "normals", "normalise")


def load_task(path: str | Path, *, named: str | None = None) -> tuple[nn.Module, dict[str, Any]]:
    """The network of a ``pointssl finetune`` checkpoint in evaluation mode, and its metadata.

    Args:
        named: the backbone that the user typed, see
            :func:`pointssl.checkpoints.metadata.encoder_metadata`.

    Returns:
        the task, an ``nn.Module`` with ``logits(xyz (B, N, 3), feats, category)``; and ``task``
        ("cls", "partseg", "semseg", or ``package.module:Class`` of your own, which must be
        imported already), ``classes``, ``parts``, ``points``, ``normals`` and so on.

    Raises:
        UserError: not a checkpoint of ours, one of pretraining, damaged, metadata that contradict
            each other, or weights that do not fit.
    """
    path = Path(path)
    task, metadata = task_of(open_checkpoint(path), path, named=named)
    return task, dict(metadata)


def task_of(
    checkpoint: dict[str, Any], path: Path, *, named: str | None = None
) -> tuple[nn.Module, Metadata]:
    """:func:`load_task` of a file that is read already."""
    found = checkpoint["facts"]
    if isinstance(found, dict) and "task" not in found:
        raise UserError(
            f"{path} holds an encoder without a head: expected a checkpoint of `pointssl finetune`"
        )
    metadata = encoder_metadata(checkpoint, path, *NEEDED, named=named)
    ours = isinstance(metadata["task"], str) and metadata["task"] in TASKS
    # Reading a file must not run what it names: a task of the user's own is imported already.
    known = ours or str(metadata["task"]).partition(":")[0] in sys.modules
    if not known or not isinstance(checkpoint.get("method"), dict):
        raise UserError(
            f"{path} is not a checkpoint of `pointssl finetune` that this version reads"
        )
    if ours:
        check_task_metadata(metadata, path)
    make = partial(build_task, metadata)
    return build_fitting(make, metadata["backbone"], checkpoint["method"], path), metadata


def build_task(metadata: Metadata, encoder: nn.Module | None = None) -> nn.Module:
    """The network of the metadata, with random weights unless an ``encoder`` is given."""
    if encoder is None:
        encoder = build_encoder(metadata["backbone"], **metadata["backbone_args"])
    return resolve(metadata["task"], TASKS, "task", nn.Module)(encoder, **metadata["task_args"])
