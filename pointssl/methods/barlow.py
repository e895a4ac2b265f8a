"""Barlow Twins: the channels of two views are correlated with themselves and with no other."""

from functools import partial
from typing import Any

from torch import Tensor

from pointssl.heads import Projector
from pointssl.losses import barlow_among
from pointssl.methods.base import Heatmap, Scalars, correlation_of_views, require
from pointssl.methods.two_views import TwoViews


class BarlowTwins(TwoViews):
    """Zbontar et al. 2021, Barlow Twins: Self-Supervised Learning via Redundancy Reduction (arXiv
    2103.03230): :class:`.two_views.TwoViews` with ``L = sum (1 - C_dd)^2 + redundancy * sum
    C_de^2`` of the cross-correlation C; see :func:`pointssl.losses.barlow_among`.

    Args:
        encoder, image_encoder, freeze_image: see there.
        projection: channels of the projected embeddings; the paper has 8192.
        hidden: channels inside the projection heads.
        redundancy: weight of the correlations of different channels, as in the paper.
    """

    watch = {  # noqa: RUF012 - read only
        "loss": "loss",
        "invariance_within": "invariance",
        "redundancy_within": "redundancy",
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
        super().__init__(
            encoder,
            image_encoder,
            head=partial(Projector, hidden=(hidden, hidden), out_dim=projection),
            within_weight=within_weight,
            cross_weight=cross_weight,
            freeze_image=freeze_image,
        )
        require(redundancy >= 0, f"redundancy={redundancy}", "at least 0")
        self.redundancy = redundancy

    def compare(self, a: Tensor, b: Tensor) -> tuple[Tensor, Scalars]:
        """The weighted sum of the two terms, and each of them without its weight."""
        terms = barlow_among(a, b)
        return terms.invariance + self.redundancy * terms.redundancy, {**terms._asdict()}

    def heatmap(self, z: Tensor) -> Heatmap:
        return correlation_of_views(z)
