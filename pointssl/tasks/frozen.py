"""An encoder that is used but not trained."""

from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from pointssl.backbones.base import Features
from pointssl_datasets.base.errors import UserError

Task = TypeVar("Task", bound=nn.Module)


def keep_frozen(task: Task) -> Task:
    """After ``train()``: a frozen encoder goes back to evaluation mode, so that its batch norms
    and dropout are those of the checkpoint."""
    if task.freeze_backbone:
        task.encoder.eval()  # type: ignore[operator, union-attr]
    return task


def encode(task: Any, xyz: Tensor, feats: Tensor | None, offsets: Tensor | None = None) -> Features:
    """The encoder's features, without a graph where it is frozen.

    Raises:
        UserError: ``offsets`` of packed clouds, and an encoder that takes equal sizes only.
    """
    packed = () if offsets is None else (offsets,)
    if packed and not getattr(task.encoder, "packed", False):
        raise UserError(
            f"{type(task.encoder).__name__} takes clouds of equal sizes, (B, N, 3): of the "
            "backbones point_transformer_packed takes packed ones"
        )
    with torch.set_grad_enabled(torch.is_grad_enabled() and not task.freeze_backbone):
        return task.encoder(xyz, feats, *packed)
