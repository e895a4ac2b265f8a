"""CrossPoint: contrast two views of a cloud, and their mean with an image of it."""

from typing import Any

from pointssl.heads import ProjectionHead
from pointssl.losses import embedding_std, gather_embeddings, nt_xent_among
from pointssl.methods.base import (
    Batch,
    Heatmap,
    Method,
    Scalars,
    both_views,
    image_vectors,
    require,
    similarity_of_views,
)


class CrossPoint(Method):
    """Afham et al. 2022, CrossPoint: Self-Supervised Cross-Modal Contrastive Learning for 3D
    Point Cloud Understanding (arXiv 2203.00680).

    ``loss = within_weight * NT-Xent(z1, z2) + cross_weight * NT-Xent((z1 + z2) / 2, z_image)``
    with z1 and z2 the projected views of a cloud.

    Args:
        encoder: a point encoder, ``(B, N, 3) -> Features``.
        image_encoder: ``(B, 3, H, W) -> (B, dim)``, or None for the first term alone.
        projection: channels of the projected embeddings.
        temperature: of both losses.
        point_hidden, image_hidden: channels inside the projection heads.
        freeze_image: leave the image encoder as it is; its head is still trained.
    """

    images = "vector"
    takes_image_features = True
    default_image_encoder = "resnet50"
    watch = {  # noqa: RUF012 - read only
        "loss": "loss",
        "loss_within": "within",
        "loss_cross": "cross",
        "retrieval_within": "retrieval within",
        "retrieval_cross": "cross",
        "embedding_std": "std",
    }

    def __init__(
        self,
        encoder: Any,
        image_encoder: Any = None,
        *,
        projection: int = 256,
        temperature: float = 0.1,
        within_weight: float = 1.0,
        cross_weight: float = 1.0,
        point_hidden: int = 1024,
        image_hidden: int = 512,
        freeze_image: bool = False,
    ) -> None:
        super().__init__()
        require(temperature >= 1e-4, f"temperature={temperature}", "at least 0.0001")
        require(within_weight >= 0, f"within_weight={within_weight}", "at least 0")
        require(cross_weight >= 0, f"cross_weight={cross_weight}", "at least 0")
        self.temperature = temperature
        self.within_weight = within_weight
        self.cross_weight = cross_weight
        self.encoder = encoder
        self.head = ProjectionHead(encoder.cloud_dim, point_hidden, projection)
        self.set_image_encoder(image_encoder, freeze_image)
        if image_encoder is not None:
            self.image_head = ProjectionHead(
                image_encoder.dim, image_hidden, projection, bias=False
            )

    def forward(self, batch: Batch) -> Scalars:
        """Losses and what to watch.

        Args:
            batch: ``xyz1, xyz2 (B, N, 3)``, optional ``feats1, feats2 (B, N, C)``, and
                ``image (B, 3, H, W)`` in [0, 1] if there is an image encoder, or what it makes
                of it, ``image_feature (B, dim)``.

        Returns:
            ``loss``; ``loss_within`` and ``loss_cross``; ``retrieval_*``, the share of rows whose
            nearest partner is the right one; ``embedding_std``, 0 when the embedding has
            collapsed; ``negatives``, of each row.
        """
        z1, z2 = self.head(both_views(self.encoder, batch)).chunk(2)
        kinds = [z1, z2]
        if self.image_encoder is not None:
            kinds.append(self.image_head(image_vectors(self.image_encoder, batch)))
        z1, z2, *z_image = gather_embeddings(*kinds)  # of all ranks, once for both losses
        within = nt_xent_among(z1, z2, self.temperature)
        outputs: Scalars = {
            "loss": self.within_weight * within.loss,
            "loss_within": within.loss,
            "retrieval_within": within.retrieval,
            "embedding_std": embedding_std(z1),
            "negatives": float(within.negatives),
        }
        if z_image:
            cross = nt_xent_among((z1 + z2) / 2, z_image[0], self.temperature)
            outputs["loss"] = outputs["loss"] + self.cross_weight * cross.loss
            outputs["loss_cross"] = cross.loss
            outputs["retrieval_cross"] = cross.retrieval
        return outputs

    def about(self, batch_size: int) -> str:
        return f"{2 * batch_size - 2} negatives a row"

    def figure(self, batch: Batch) -> Heatmap:
        return similarity_of_views(self.head(both_views(self.encoder, batch)))
