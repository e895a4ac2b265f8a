"""What a self-supervised method is: its views of a batch, its losses, how it describes itself."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, NamedTuple

import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from pointssl.augment import Augmentation, Draw, two_views
from pointssl.losses import cross_correlation
from pointssl_datasets.base.errors import UsageError

Batch = dict[str, Tensor]
Scalars = dict[str, Tensor | float]


class Method(nn.Module):
    """A self-supervised objective.

    Its constructor takes a point encoder, an image encoder or None, and its options: keyword
    arguments with a default, which are given as ``--method-arg NAME=VALUE``, checked against the
    signature, and recorded in the checkpoint. A constructor that has the parameter
    ``freeze_image`` is told whether the image encoder is to stay as it is.

    Whatever a method owns is in its state dict, so that a run continues bit for bit.

    Attributes:
        images: what it takes of an image: nothing, one vector, or tokens with their grid.
        default_image_encoder: of a run that names none.
        default_augment: the same for the augmentation of the clouds.
        watch: scalar of :meth:`forward` -> its label in the progress line. Curves are drawn of
            them too; scalars that are not named here are logged all the same.
        takes_image_features: whether ``image_feature (B, D)`` in a batch stands for the image, as
            served when the image encoder is frozen and the images are not augmented.
    """

    images: ClassVar[Literal["none", "vector", "tokens"]] = "none"
    default_image_encoder: ClassVar[str] = "none"
    default_augment: ClassVar[str] = "crosspoint"
    watch: ClassVar[Mapping[str, str]] = {"loss": "loss"}
    takes_image_features: ClassVar[bool] = False

    encoder: nn.Module
    image_encoder: nn.Module | None
    freeze_image: bool = False

    def set_image_encoder(self, image_encoder: nn.Module | None, freeze: bool) -> None:
        """Own an image encoder; one that is frozen stays in evaluation mode."""
        self.image_encoder = image_encoder
        self.freeze_image = freeze
        if image_encoder is not None and freeze:
            image_encoder.requires_grad_(False)

    def train(self, mode: bool = True) -> "Method":
        super().train(mode)
        if self.freeze_image and self.image_encoder is not None:
            self.image_encoder.eval()
        return self

    def views(self, batch: Batch, draw: Draw, augment: Augmentation) -> Batch:
        """What :meth:`forward` takes, made of a batch of the dataset; by default two views.

        Args:
            batch: ``xyz (B, N, 3)``, ``index (B,)``, and where the data have them ``feats
                (B, N, C)`` and ``image (B, 3, H, W)`` or ``image_feature (B, D)``; no labels.
            draw: random numbers of this rank's rows.
            augment: the augmentation that the options name.
        """
        return two_views(batch, draw, augment)

    def forward(self, batch: Batch) -> Scalars:
        """Scalars to log, among them ``loss``, of which the gradient is taken."""
        raise NotImplementedError

    def after_step(self, progress: float) -> None:
        """Called after every step of the optimiser; ``progress`` of the run is in (0, 1]."""

    def about(self, batch_size: int) -> str:
        """A phrase for the first lines of a run, e.g. how many negatives a row has; may be empty.

        Args:
            batch_size: clouds that the loss sees together, of all ranks.
        """
        return ""

    def figure(self, batch: Batch) -> "Heatmap | None":
        """A figure of this batch of :meth:`views`, for the end of a run. Every rank calls it."""
        return None


class Heatmap(NamedTuple):
    """A matrix to be drawn.

    Attributes:
        title: of the figure.
        values: ``(R, C)``.
        rows, columns: what they are.
    """

    title: str
    values: NDArray[Any]
    rows: str
    columns: str


def similarity_of_views(z: Tensor) -> Heatmap:
    """Cosines of the first views' embeddings with the second ones': bright on the diagonal where a
    cloud is known by both of its views, bright everywhere where the embedding has collapsed.

    Args:
        z: ``(2B, D)``, the first views first.
    """
    z1, z2 = F.normalize(z.detach().float(), dim=1).chunk(2)
    return Heatmap(
        "cosine of the embeddings of two views", (z1 @ z2.T).cpu().numpy(), "first view of a cloud",
        "second view of a cloud",
    )  # fmt: skip


def correlation_of_views(z: Tensor, channels: int = 64) -> Heatmap:
    """Correlations of the first channels of two views' embeddings: 1 on the diagonal and 0 beside
    it where views agree and no two channels say the same.

    Args:
        z: ``(2B, D)``, the first views first.
    """
    z1, z2 = z.detach().float()[:, :channels].chunk(2)
    return Heatmap(
        "correlation of the first channels of two views",
        cross_correlation(z1, z2).cpu().numpy(), "channel of the first view",
        "channel of the second view",
    )  # fmt: skip


INPUTS = ("encoder", "image_encoder", "freeze_image")  # parameters that are not options


def require(condition: bool, argument: str, expected: str) -> None:
    """Raises UsageError where an option of a method can't have its value."""
    if not condition:
        raise UsageError(f"--method-arg {argument}: must be {expected}")


def image_vectors(image_encoder: nn.Module, batch: Batch) -> Tensor:
    """The images' vectors ``(B, D)``: those that are served in their place, or the encoder's."""
    features = batch.get("image_feature")
    return image_encoder(batch["image"]) if features is None else features


def both_views(encoder: nn.Module, batch: Batch) -> Tensor:
    """Cloud features ``(2B, D)`` of both views, the first views first.

    They pass the encoder together, so that its batch norms see both, as in CrossPoint's code.
    """
    xyz = torch.cat((batch["xyz1"], batch["xyz2"]))
    feats = torch.cat((batch["feats1"], batch["feats2"])) if "feats1" in batch else None
    cloud: Tensor = encoder(xyz, feats).cloud
    return cloud
