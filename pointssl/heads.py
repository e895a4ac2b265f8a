"""Heads on top of an encoder: projections for pretraining, classifiers for evaluation."""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pointssl.backbones.layers import PointLayer
from pointssl.ops.packed import per_point


class ProjectionHead(nn.Sequential):
    """Linear, batch norm, ReLU, linear: ``(B, D)`` to ``(B, P)``.

    From CrossPoint (arXiv 2203.00680), whose head for points has biases and whose head for images
    has none.
    """

    def __init__(self, in_dim: int, hidden: int, out_dim: int, bias: bool = True) -> None:
        super().__init__(
            nn.Linear(in_dim, hidden, bias=bias),
            nn.BatchNorm1d(hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, out_dim, bias=bias),
        )

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)


class Projector(nn.Sequential):
    """MLP of linear, batch norm and ReLU, then a linear layer: ``(B, D)`` to ``(B, P)``.

    VICReg and Barlow Twins use ``hidden=(8192, 8192)``; SimSiam's projector uses ``(2048, 2048)``
    with ``norm=True``, its predictor ``(512,)``.

    Args:
        hidden: channels of the hidden layers; they have no bias, which the norm would cancel.
        norm: append a batch norm without parameters.
    """

    def __init__(
        self, in_dim: int, hidden: Sequence[int], out_dim: int, *, norm: bool = False
    ) -> None:
        widths = [in_dim, *hidden]
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Linear(before, after, bias=False), nn.BatchNorm1d(after), nn.ReLU(True)]
        layers.append(nn.Linear(widths[-1], out_dim, bias=not norm))
        if norm:
            layers.append(nn.BatchNorm1d(out_dim, affine=False))
        super().__init__(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)


class LinearProbe(nn.Sequential):
    """Batch norm without parameters, then a linear layer: ``(B, D)`` to ``(B, classes)``.

    The norm standardises the features, as in MAE (He et al., arXiv 2111.06377).
    """

    def __init__(self, in_dim: int, classes: int) -> None:
        super().__init__(nn.BatchNorm1d(in_dim, affine=False), nn.Linear(in_dim, classes))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)


class MlpHead(nn.Module):
    """MLP of linear, batch norm, leaky ReLU and dropout, then a linear layer: ``(B, D)`` to
    ``(B, classes)``.

    With ``hidden=(512, 256)`` it is the head of dgcnn.pytorch, whose first layer has no bias;
    Point-MAE (arXiv 2203.06604) uses ``(256, 256)`` and plain ReLUs (``slope=0``).
    """

    def __init__(
        self,
        in_dim: int,
        hidden: Sequence[int],
        classes: int,
        *,
        dropout: float = 0.5,
        slope: float = 0.2,
    ) -> None:
        super().__init__()
        widths = [in_dim, *hidden]
        self.linears = nn.ModuleList(
            nn.Linear(before, after, bias=place > 0)
            for place, (before, after) in enumerate(zip(widths, hidden, strict=False))
        )
        self.norms = nn.ModuleList(nn.BatchNorm1d(width) for width in hidden)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(widths[-1], classes)
        self.slope = slope

    def forward(self, x: Tensor) -> Tensor:
        for linear, norm in zip(self.linears, self.norms, strict=True):
            x = self.dropout(F.leaky_relu(norm(linear(x)), self.slope))
        return self.out(x)


class PointHead(nn.Module):
    """Segmentation head: classifies each point from its feature, its cloud's feature and the
    category of the object.

    The layers run on ``[cloud | category | point]``, as in DGCNN's and CrossPoint's part
    segmentation. The part that all points of a cloud share passes through the first layer once per
    cloud instead of once per point: the same sum in another order.

    Args:
        cloud_dim, point_dim: channels of the encoder's features.
        parts: number of labels.
        categories: number of object categories; 0 if the head gets no category.
        hidden: channels of the hidden layers.
        dropout: dropout rate after each hidden layer.
        embedded: channels of the category embedding.
    """

    def __init__(
        self,
        cloud_dim: int,
        point_dim: int,
        parts: int,
        *,
        categories: int = 0,
        hidden: Sequence[int] = (256, 256, 128),
        dropout: Sequence[float] = (0.5, 0.5, 0.0),
        embedded: int = 64,
        slope: float = 0.2,
    ) -> None:
        super().__init__()
        self.slope = slope
        self.category: nn.Module | None = None
        shared = cloud_dim
        if categories:
            self.category = PointLayer(categories, embedded, slope)
            shared += embedded
        self.first = nn.Linear(shared + point_dim, hidden[0], bias=False)
        self.norm = nn.BatchNorm1d(hidden[0])
        self.layers = nn.ModuleList(
            PointLayer(before, after, slope) for before, after in pairwise(hidden)
        )
        self.dropouts = nn.ModuleList(nn.Dropout(share) for share in dropout)
        self.out = nn.Linear(hidden[-1], parts, bias=False)

    def forward(
        self,
        points: Tensor,
        cloud: Tensor,
        category: Tensor | None = None,
        sizes: Sequence[int] | None = None,
    ) -> Tensor:
        """Return logits ``(B, N, parts)``, from features ``(B, N, C)`` and ``(B, D)`` and one-hot
        categories ``(B, categories)``.

        For packed clouds of these ``sizes``, map ``(T, C)`` to ``(T, parts)``.
        """
        if self.category is not None:
            cloud = torch.cat((cloud, self.category(category)), dim=1)
        splits = [cloud.shape[1], points.shape[-1]]
        cloud_weight, point_weight = self.first.weight.split(splits, dim=1)
        shared = F.linear(cloud, cloud_weight)
        shared = shared[:, None] if sizes is None else per_point(shared, sizes)
        x = F.linear(points, point_weight) + shared
        x = F.leaky_relu(self.norm(x.flatten(0, -2)), self.slope).view_as(x)
        x = self.dropouts[0](x)
        for layer, dropout in zip(self.layers, list(self.dropouts)[1:], strict=True):
            x = dropout(layer(x))
        return self.out(x)
