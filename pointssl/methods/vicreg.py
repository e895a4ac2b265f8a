"""VICReg: two views agree, every channel varies, and no two channels say the same."""

from functools import partial
from typing import Any

from torch import Tensor

from pointssl.heads import Projector
from pointssl.losses import vicreg_among
from pointssl.methods.base import Heatmap, Scalars, correlation_of_views, require
from pointssl.methods.two_views import TwoViews


class VICReg(TwoViews):
    """Bardes et al. 2022, VICReg: Variance-Invariance-Covariance Regularization for Self-Supervised
    Learning (arXiv 2105.04906): :class:`.two_views.TwoViews` with ``L = invariance * MSE +
    variance * hinge + covariance * squares``; see :func:`pointssl.losses.vicreg_among`.

    Args:
        encoder, image_encoder, freeze_image: see there.
        projection: channels of the projected embeddings; the paper has 8192.
        hidden: channels inside the projection heads.
        invariance, variance, covariance: weights, as in the paper.
    """

    watch = {  # noqa: RUF012 - read only
        "loss": "loss",
        "invariance_within": "invariance",
        "variance_within": "variance",
        "covariance_within": "covariance",
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
        super().__init__(
            encoder,
            image_encoder,
            head=partial(Projector, hidden=(hidden, hidden), out_dim=projection),
            within_weight=within_weight,
            cross_weight=cross_weight,
            freeze_image=freeze_image,
        )
        self.weights = {"invariance": invariance, "variance": variance, "covariance": covariance}
        for name, weight in self.weights.items():
            require(weight >= 0, f"{name}={weight}", "at least 0")

    def compare(self, a: Tensor, b: Tensor) -> tuple[Tensor, Scalars]:
        """The weighted sum of the three terms, and each of them without its weight. ``variance`` is
        1 where all channels have collapsed."""
        terms: dict[str, Tensor] = vicreg_among(a, b)._asdict()
        invariance, variance, covariance = (terms[name] * w for name, w in self.weights.items())
        return invariance + variance + covariance, {**terms}

    def heatmap(self, z: Tensor) -> Heatmap:
        return correlation_of_views(z)
