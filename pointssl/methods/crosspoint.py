"""CrossPoint: contrast two views of a cloud, and their mean with an image of it."""

from functools import partial
from typing import Any

from torch import Tensor

from pointssl.heads import ProjectionHead
from pointssl.losses import nt_xent_among
from pointssl.methods.base import Batch, Scalars, require
from pointssl.methods.two_views import TwoViews
from pointssl.ops.collectives import world_size


class CrossPoint(TwoViews):
    """Afham et al. 2022, CrossPoint: Self-Supervised Cross-Modal Contrastive Learning for 3D
    Point Cloud Understanding (arXiv 2203.00680): :class:`.two_views.TwoViews` with NT-Xent.

    Args:
        encoder, image_encoder, freeze_image: see there.
        projection: channels of the projected embeddings.
        temperature: of both losses.
        point_hidden, image_hidden: channels inside the projection heads.
    """

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
        require(temperature >= 1e-4, f"temperature={temperature}", "at least 0.0001")
        super().__init__(
            encoder,
            image_encoder,
            head=partial(ProjectionHead, hidden=point_hidden, out_dim=projection),
            image_head=partial(ProjectionHead, hidden=image_hidden, out_dim=projection, bias=False),
            within_weight=within_weight,
            cross_weight=cross_weight,
            freeze_image=freeze_image,
        )
        self.temperature = temperature

    def compare(self, a: Tensor, b: Tensor) -> tuple[Tensor, Scalars]:
        """NT-Xent, and ``retrieval``: the share of rows whose nearest partner is the right one."""
        contrast = nt_xent_among(a, b, self.temperature)
        return contrast.loss, {"retrieval": contrast.retrieval}

    def forward(self, batch: Batch) -> Scalars:
        """As :meth:`.two_views.TwoViews.forward`, and ``negatives``, of each row."""
        rows = len(batch["xyz1"]) * world_size()
        return {**super().forward(batch), "negatives": float(2 * rows - 2)}

    def about(self, batch_size: int) -> str:
        return f"{2 * batch_size - 2} negatives a row"
