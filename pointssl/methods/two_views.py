"""What methods share that compare two views of a cloud, and their mean with an image of it."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from pointssl.losses import embedding_std, gather_embeddings
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


class TwoViews(Method):
    """``loss = within_weight * L(z1, z2) + cross_weight * L((z1 + z2) / 2, z_image)``, with z1 and
    z2 the projected views of a cloud; without an image encoder the first term alone.

    A subclass says what L is in :meth:`compare`, and what heads project.
    Args:
        encoder: a point encoder, ``(B, N, 3) -> Features``.
        image_encoder: ``(B, 3, H, W) -> (B, dim)``, or None.
        head: makes the projection head ``(B, cloud_dim) -> (B, P)`` of the views.
        image_head: the same of the images; default: as ``head``.
        freeze_image: leave the image encoder as it is; its head is still trained.
    """

    images = "vector"
    takes_image_features = True

    def __init__(
        self,
        encoder: Any,
        image_encoder: Any,
        *,
        head: Callable[[int], nn.Module],
        image_head: Callable[[int], nn.Module] | None = None,
        within_weight: float,
        cross_weight: float,
        freeze_image: bool,
    ) -> None:
        super().__init__()
        require(within_weight >= 0, f"within_weight={within_weight}", "at least 0")
        require(cross_weight >= 0, f"cross_weight={cross_weight}", "at least 0")
        self.within_weight, self.cross_weight = within_weight, cross_weight
        self.encoder = encoder
        self.head = head(encoder.cloud_dim)
        self.set_image_encoder(image_encoder, freeze_image)
        if image_encoder is not None:
            self.image_head = (image_head or head)(image_encoder.dim)

    def compare(self, a: Tensor, b: Tensor) -> tuple[Tensor, Scalars]:
        """The loss of paired embeddings, with its gradient, and scalars to log beside it.

        Args:
            a, b: ``(W*B, P)`` rows of all ranks, see :func:`pointssl.losses.gather_embeddings`. The
                mean of the ranks' losses must be the loss of the whole batch in one process.
        """
        raise NotImplementedError

    def forward(self, batch: Batch) -> Scalars:
        """Losses and what to watch.

        Args:
            batch: ``xyz1, xyz2 (B, N, 3)``, optional ``feats1, feats2 (B, N, C)``, and
                ``image (B, 3, H, W)`` in [0, 1] if there is an image encoder, or what it makes
                of it, ``image_feature (B, dim)``.

        Returns:
            ``loss``; ``loss_within`` and ``loss_cross``, without their weights; ``NAME_within`` and
            ``NAME_cross`` of each scalar of :meth:`compare`; ``embedding_std``, 0 when the
            embedding has collapsed.
        """
        z1, z2 = self.head(both_views(self.encoder, batch)).chunk(2)
        kinds = [z1, z2]
        if self.image_encoder is not None:
            kinds.append(self.image_head(image_vectors(self.image_encoder, batch)))
        z1, z2, *z_image = gather_embeddings(*kinds)  # of all ranks, once for both losses
        within, terms = self.compare(z1, z2)
        outputs: Scalars = {"loss": self.within_weight * within, "loss_within": within}
        outputs |= {f"{name}_within": value for name, value in terms.items()}
        outputs["embedding_std"] = embedding_std(z1)
        if z_image:
            cross, terms = self.compare((z1 + z2) / 2, z_image[0])
            outputs["loss"] = outputs["loss"] + self.cross_weight * cross
            outputs["loss_cross"] = cross
            outputs |= {f"{name}_cross": value for name, value in terms.items()}
        return outputs

    def heatmap(self, z: Tensor) -> Heatmap:
        """The figure of projected views ``(2B, P)``, the first views first."""
        return similarity_of_views(z)

    def figure(self, batch: Batch) -> Heatmap:
        return self.heatmap(self.head(both_views(self.encoder, batch)))
