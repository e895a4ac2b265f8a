"""Which part of an object, or which thing in a scene, every point belongs to."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pointssl.heads import PointHead
from pointssl.losses import smoothed_cross_entropy
from pointssl.ops.packed import sizes_of
from pointssl.tasks.frozen import encode, keep_frozen
from pointssl_datasets.base.errors import UserError


class PointSegmentation(nn.Module):
    """An encoder, and a head on its point features, its cloud feature and the object's category.

    Args:
        encoder: a point encoder, ``(B, N, 3) -> Features``.
        parts: how many labels a point can have.
        categories: of objects; their one-hot vector goes into the head. 0: the head is not told.
        hidden, dropout: of the layers of the head, see :class:`pointssl.heads.PointHead`.
        smoothing: of the labels, see :func:`pointssl.losses.smoothed_cross_entropy`.
        freeze_backbone: train the head alone; the encoder stays in evaluation mode.
    """

    def __init__(
        self,
        encoder: Any,
        *,
        parts: int,
        categories: int = 0,
        hidden: Sequence[int] = (256, 256, 128),
        dropout: Sequence[float] = (0.5, 0.5, 0.0),
        smoothing: float = 0.0,
        freeze_backbone: bool = False,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.parts = parts
        self.categories = categories
        self.smoothing = smoothing
        self.freeze_backbone = freeze_backbone
        self.head = PointHead(
            encoder.cloud_dim, encoder.point_dim, parts,
            categories=categories, hidden=hidden, dropout=dropout,
        )  # fmt: skip
        if freeze_backbone:
            encoder.requires_grad_(False)

    def train(self, mode: bool = True) -> "PointSegmentation":
        super().train(mode)
        return keep_frozen(self)

    def logits(
        self,
        xyz: Tensor,
        feats: Tensor | None = None,
        category: Tensor | None = None,
        offsets: Tensor | None = None,
    ) -> Tensor:
        """``(B, N, parts)`` of clouds ``(B, N, 3)`` of the categories ``(B,)``; of packed clouds
        ``(T, 3)`` with offsets ``(B,)`` it is ``(T, parts)``.

        Raises:
            UserError: the head wants to be told the category, and is not; or the encoder does not
                take packed clouds.
        """
        features = encode(self, xyz, feats, offsets)
        sizes = None if offsets is None else sizes_of(offsets, len(xyz))
        onehot = None
        if self.categories:
            if category is None:
                raise UserError("this network takes the category of every cloud: give it")
            onehot = F.one_hot(category, self.categories).to(features.cloud.dtype)
        return self.head(features.points, features.cloud, onehot, sizes)

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor | float]:
        """Loss and point accuracy.

        Args:
            batch: ``xyz (B, N, 3)``, ``part (B, N)``, ``label (B,)`` (the category), and where the
                data have them ``feats (B, N, C)``; or packed, ``(T, ...)``, with ``offsets (B,)``.
        """
        category = batch["label"] if self.categories else None
        logits = self.logits(batch["xyz"], batch.get("feats"), category, batch.get("offsets"))
        logits = logits.flatten(0, -2)
        part = batch["part"].flatten()
        with torch.no_grad():
            accuracy = (logits.argmax(dim=1) == part).float().mean()
        return {"loss": smoothed_cross_entropy(logits, part, self.smoothing), "accuracy": accuracy}
