"""SimSiam: each view's embedding is predicted from the other one's, without negatives."""

from typing import Any

from torch import Tensor

from pointssl.heads import Projector
from pointssl.losses import embedding_std, gather_embeddings, negative_cosine
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


class SimSiam(Method):
    """Chen and He 2021, Exploring Simple Siamese Representation Learning (arXiv 2011.10566), on two
    views of a cloud, and on their mean with its image.

    ``loss = within_weight * S(z1, z2) + cross_weight * S((z1 + z2) / 2, z_image)`` with
    ``S(a, b) = -(cos(predict(a), stop(b)) + cos(predict(b), stop(a))) / 2``, which lies in [-1, 1].
    A view and an image each have a projector and a predictor of their own kind.

    Args:
        encoder: a point encoder, ``(B, N, 3) -> Features``.
        image_encoder: ``(B, 3, H, W) -> (B, dim)``, or None for the first term alone.
        projection: channels of the projected embeddings, and inside the projectors.
        hidden: channels inside the predictors: a quarter of ``projection`` in the paper.
        freeze_image: leave the image encoder as it is; its heads are still trained.
    """

    images = "vector"
    takes_image_features = True
    watch = {  # noqa: RUF012 - read only
        "loss": "loss",
        "loss_within": "within",
        "loss_cross": "cross",
        "embedding_std": "std",
    }

    def __init__(
        self,
        encoder: Any,
        image_encoder: Any = None,
        *,
        projection: int = 2048,
        hidden: int = 512,
        within_weight: float = 1.0,
        cross_weight: float = 1.0,
        freeze_image: bool = False,
    ) -> None:
        super().__init__()
        require(within_weight >= 0, f"within_weight={within_weight}", "at least 0")
        require(cross_weight >= 0, f"cross_weight={cross_weight}", "at least 0")
        self.within_weight, self.cross_weight = within_weight, cross_weight
        self.encoder = encoder
        widths = (projection, projection)
        self.head = Projector(encoder.cloud_dim, widths, projection, norm=True)
        self.predictor = Projector(projection, (hidden,), projection)
        self.set_image_encoder(image_encoder, freeze_image)
        if image_encoder is not None:
            self.image_head = Projector(image_encoder.dim, widths, projection, norm=True)
            self.image_predictor = Projector(projection, (hidden,), projection)

    def forward(self, batch: Batch) -> Scalars:
        """Losses and what to watch; ``batch`` as of
        :meth:`pointssl.methods.crosspoint.CrossPoint.forward`.

        Returns:
            ``loss``, ``loss_within`` and ``loss_cross``, each in [-1, 1] without its weight;
            ``embedding_std``, 0 when the embedding has collapsed.
        """
        z = self.head(both_views(self.encoder, batch))
        p1, p2 = self.predictor(z).chunk(2)
        z1, z2 = z.chunk(2)
        within = predict_each_other(p1, z1, p2, z2)
        (seen,) = gather_embeddings(z1.detach())
        outputs: Scalars = {
            "loss": self.within_weight * within,
            "loss_within": within,
            "embedding_std": embedding_std(seen),
        }
        if self.image_encoder is not None:
            z_points = (z1 + z2) / 2
            z_image = self.image_head(image_vectors(self.image_encoder, batch))
            cross = predict_each_other(
                self.predictor(z_points), z_points, self.image_predictor(z_image), z_image
            )
            outputs["loss"] = outputs["loss"] + self.cross_weight * cross
            outputs["loss_cross"] = cross
        return outputs

    def figure(self, batch: Batch) -> Heatmap:
        return similarity_of_views(self.head(both_views(self.encoder, batch)))


def predict_each_other(p1: Tensor, z1: Tensor, p2: Tensor, z2: Tensor) -> Tensor:
    """Negative cosine of each kind's prediction with the other kind's embedding, which gets no
    gradient from it."""
    return (negative_cosine(p1, z2.detach()) + negative_cosine(p2, z1.detach())) / 2
