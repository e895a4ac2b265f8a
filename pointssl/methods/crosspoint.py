"""CrossPoint: contrast two views of a cloud, and their mean with the cloud's picture."""

from typing import Any

import torch
from torch import Tensor, nn

from pointssl.heads import ProjectionHead
from pointssl.losses import embedding_std, gather_embeddings, nt_xent_among


class CrossPoint(nn.Module):
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

    takes_image_features = True  # an `image_feature` in the batch stands for the `image`

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
        self.temperature = temperature
        self.within_weight = within_weight
        self.cross_weight = cross_weight
        self.freeze_image = freeze_image
        self.encoder = encoder
        self.head = ProjectionHead(encoder.cloud_dim, point_hidden, projection)
        self.image_encoder = image_encoder
        if image_encoder is not None:
            self.image_head = ProjectionHead(
                image_encoder.dim, image_hidden, projection, bias=False
            )
            if freeze_image:
                image_encoder.requires_grad_(False)

    def train(self, mode: bool = True) -> "CrossPoint":
        super().train(mode)
        if self.freeze_image and self.image_encoder is not None:
            self.image_encoder.eval()
        return self

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor | float]:
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
        # Both views in one pass: the batch norms see them together, as in CrossPoint's code.
        xyz = torch.cat((batch["xyz1"], batch["xyz2"]))
        feats = torch.cat((batch["feats1"], batch["feats2"])) if "feats1" in batch else None
        z1, z2 = self.head(self.encoder(xyz, feats).cloud).chunk(2)
        kinds = [z1, z2]
        if self.image_encoder is not None:
            features = batch.get("image_feature")
            if features is None:
                features = self.image_encoder(batch["image"])
            kinds.append(self.image_head(features))
        z1, z2, *z_image = gather_embeddings(*kinds)  # of all ranks, once for both losses
        within = nt_xent_among(z1, z2, self.temperature)
        outputs: dict[str, Tensor | float] = {
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
