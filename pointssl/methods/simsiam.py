"""SimSiam: each view's embedding is predicted from the other one's, without negatives."""

from functools import partial
from typing import Any

from torch import Tensor

from pointssl.heads import Projector
from pointssl.losses import embedding_std, gather_embeddings, negative_cosine
from pointssl.methods.base import (
    Batch,
    Scalars,
    both_views,
    image_vectors,
)
from pointssl.methods.two_views import TwoViews


class SimSiam(TwoViews):
    """Chen and He 2021, Exploring Simple Siamese Representation Learning (arXiv 2011.10566):
    :class:`.two_views.TwoViews` with ``L(a, b) = -(cos(predict(a), stop(b)) + cos(predict(b),
    stop(a))) / 2``, which lies in [-1, 1]. Views and images have predictors of their own.

    Args:
        encoder, image_encoder, freeze_image: see there.
        projection: channels of the projected embeddings, and inside the projectors.
        hidden: channels inside the predictors: a quarter of ``projection`` in the paper.
    """

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
        widths = (projection, projection)
        super().__init__(
            encoder,
            image_encoder,
            head=partial(Projector, hidden=widths, out_dim=projection, norm=True),
            within_weight=within_weight,
            cross_weight=cross_weight,
            freeze_image=freeze_image,
        )
        self.predictor = Projector(projection, (hidden,), projection)
        if image_encoder is not None:
            self.image_predictor = Projector(projection, (hidden,), projection)

    def forward(self, batch: Batch) -> Scalars:
        """As :meth:`.two_views.TwoViews.forward`. A row's loss needs no other row, so that nothing
        is gathered for it."""
        z = self.head(both_views(self.encoder, batch))
        p1, p2 = self.predictor(z).chunk(2)
        z1, z2 = z.chunk(2)
        within = predict_each_other(p1, z1, p2, z2)
        (z1_of_all,) = gather_embeddings(z1.detach())
        outputs: Scalars = {
            "loss": self.within_weight * within,
            "loss_within": within,
            "embedding_std": embedding_std(z1_of_all),
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


def predict_each_other(p1: Tensor, z1: Tensor, p2: Tensor, z2: Tensor) -> Tensor:
    """Negative cosine of each kind's prediction with the other kind's embedding, which gets no
    gradient from it."""
    return (negative_cosine(p1, z2.detach()) + negative_cosine(p2, z1.detach())) / 2
