"""Barlow Twins: the channels of two views are correlated with themselves and with no other."""

from typing import Any

from torch import Tensor

from pointssl.heads import Projector
from pointssl.losses import barlow_among, embedding_std, gather_embeddings
from pointssl.methods.base import (
    Batch,
    Heatmap,
    Method,
    Scalars,
    both_views,
    correlation_of_views,
    image_vectors,
    require,
)


class BarlowTwins(Method):
    """Zbontar et al. 2021, Barlow Twins: Self-Supervised Learning via Redundancy Reduction (arXiv
    2103.03230), on two views of a cloud, and on their mean with its image.

    ``loss = within_weight * B(z1, z2) + cross_weight * B((z1 + z2) / 2, z_image)`` with
    ``B = sum (1 - C_dd)^2 + redundancy * sum C_de^2`` of the cross-correlation C; see
    :func:`pointssl.losses.barlow_among`.

    Args:
        encoder: a point encoder, ``(B, N, 3) -> Features``.
        image_encoder: ``(B, 3, H, W) -> (B, dim)``, or None for the first term alone.
        projection: channels of the projected embeddings; the paper has 8192.
        hidden: channels inside the projection heads.
        redundancy: weight of the correlations of different channels, as in the paper.
        freeze_image: leave the image encoder as it is; its head is still trained.
    """

    images = "vector"
    takes_image_features = True
    watch = {  # noqa: RUF012 - read only
        "loss": "loss",
        "loss_invariance": "invariance",
        "loss_redundancy": "redundancy",
        "loss_cross": "cross",
        "embedding_std": "std",
    }

    def __init__(
        self,
        encoder: Any,
        image_encoder: Any = None,
        *,
        projection: int = 2048,
        hidden: int = 2048,
        redundancy: float = 5e-3,
        within_weight: float = 1.0,
        cross_weight: float = 1.0,
        freeze_image: bool = False,
    ) -> None:
        super().__init__()
        require(redundancy >= 0, f"redundancy={redundancy}", "at least 0")
        require(within_weight >= 0, f"within_weight={within_weight}", "at least 0")
        require(cross_weight >= 0, f"cross_weight={cross_weight}", "at least 0")
        self.redundancy = redundancy
        self.within_weight, self.cross_weight = within_weight, cross_weight
        self.encoder = encoder
        self.head = Projector(encoder.cloud_dim, (hidden, hidden), projection)
        self.set_image_encoder(image_encoder, freeze_image)
        if image_encoder is not None:
            self.image_head = Projector(image_encoder.dim, (hidden, hidden), projection)

    def forward(self, batch: Batch) -> Scalars:
        """Losses and what to watch; ``batch`` as of
        :meth:`pointssl.methods.crosspoint.CrossPoint.forward`.

        Returns:
            ``loss``; the terms ``loss_invariance`` and ``loss_redundancy`` between views, without
            their weights; ``loss_cross``, with them; ``embedding_std``, 0 when the embedding has
            collapsed.
        """
        z1, z2 = self.head(both_views(self.encoder, batch)).chunk(2)
        kinds = [z1, z2]
        if self.image_encoder is not None:
            kinds.append(self.image_head(image_vectors(self.image_encoder, batch)))
        z1, z2, *z_image = gather_embeddings(*kinds)
        within = barlow_among(z1, z2)
        outputs: Scalars = {
            "loss": self.within_weight * self._weighted(within),
            "loss_invariance": within.invariance,
            "loss_redundancy": within.redundancy,
            "embedding_std": embedding_std(z1),
        }
        if z_image:
            cross = self._weighted(barlow_among((z1 + z2) / 2, z_image[0]))
            outputs["loss"] = outputs["loss"] + self.cross_weight * cross
            outputs["loss_cross"] = cross
        return outputs

    def _weighted(self, terms: tuple[Tensor, Tensor]) -> Tensor:
        invariance, redundancy = terms
        return invariance + self.redundancy * redundancy

    def figure(self, batch: Batch) -> Heatmap:
        return correlation_of_views(self.head(both_views(self.encoder, batch)))
