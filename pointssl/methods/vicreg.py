"""VICReg: two views agree, every channel varies, and no two channels say the same."""

from typing import Any

from torch import Tensor

from pointssl.heads import Projector
from pointssl.losses import embedding_std, gather_embeddings, vicreg_among
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


class VICReg(Method):
    """Bardes et al. 2022, VICReg: Variance-Invariance-Covariance Regularization for Self-Supervised
    Learning (arXiv 2105.04906), on two views of a cloud, and on their mean with its image.

    ``loss = within_weight * V(z1, z2) + cross_weight * V((z1 + z2) / 2, z_image)`` with
    ``V = invariance * MSE + variance * hinge + covariance * squares``; see
    :func:`pointssl.losses.vicreg_among`.

    Args:
        encoder: a point encoder, ``(B, N, 3) -> Features``.
        image_encoder: ``(B, 3, H, W) -> (B, dim)``, or None for the first term alone.
        projection: channels of the projected embeddings; the paper has 8192.
        hidden: channels inside the projection heads.
        invariance, variance, covariance: weights, as in the paper.
        freeze_image: leave the image encoder as it is; its head is still trained.
    """

    images = "vector"
    takes_image_features = True
    watch = {  # noqa: RUF012 - read only
        "loss": "loss",
        "loss_invariance": "invariance",
        "loss_variance": "variance",
        "loss_covariance": "covariance",
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
        invariance: float = 25.0,
        variance: float = 25.0,
        covariance: float = 1.0,
        within_weight: float = 1.0,
        cross_weight: float = 1.0,
        freeze_image: bool = False,
    ) -> None:
        super().__init__()
        weights = {
            "invariance": invariance,
            "variance": variance,
            "covariance": covariance,
            "within_weight": within_weight,
            "cross_weight": cross_weight,
        }
        for name, weight in weights.items():
            require(weight >= 0, f"{name}={weight}", "at least 0")
        self.weights = (invariance, variance, covariance)
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
            ``loss``; the terms ``loss_invariance``, ``loss_variance`` (1 where all channels have
            collapsed) and ``loss_covariance`` between views, without their weights; ``loss_cross``,
            with them; ``embedding_std``, 0 when the embedding has collapsed.
        """
        z1, z2 = self.head(both_views(self.encoder, batch)).chunk(2)
        kinds = [z1, z2]
        if self.image_encoder is not None:
            kinds.append(self.image_head(image_vectors(self.image_encoder, batch)))
        z1, z2, *z_image = gather_embeddings(*kinds)
        within = vicreg_among(z1, z2)
        outputs: Scalars = {
            "loss": self.within_weight * self._weighted(within),
            "loss_invariance": within.invariance,
            "loss_variance": within.variance,
            "loss_covariance": within.covariance,
            "embedding_std": embedding_std(z1),
        }
        if z_image:
            cross = self._weighted(vicreg_among((z1 + z2) / 2, z_image[0]))
            outputs["loss"] = outputs["loss"] + self.cross_weight * cross
            outputs["loss_cross"] = cross
        return outputs

    def _weighted(self, terms: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        invariance, variance, covariance = (w * t for w, t in zip(self.weights, terms, strict=True))
        return invariance + variance + covariance

    def figure(self, batch: Batch) -> Heatmap:
        return correlation_of_views(self.head(both_views(self.encoder, batch)))
