"""The part-segmentation DGCNN: a T-Net aligns the cloud, then three edge convolutions follow."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pointssl.backbones.base import Features
from pointssl.backbones.layers import DoubleEdgeConv, EdgeConv, PointLayer, with_feats
from pointssl.ops.neighbours import knn
from pointssl.ops.pooling import max_over_points
from pointssl_datasets.base.errors import UsageError


class TransformNet(nn.Module):
    """T-Net: predicts a 3x3 matrix per cloud, initially the identity. Qi et al. 2017, PointNet."""

    def __init__(self, slope: float = 0.2) -> None:
        super().__init__()
        self.edge_conv = DoubleEdgeConv(3, 64, 128, slope)
        self.point_layer = PointLayer(128, 1024, slope)
        self.linear1 = nn.Linear(1024, 512, bias=False)
        self.norm1 = nn.BatchNorm1d(512)
        self.linear2 = nn.Linear(512, 256, bias=False)
        self.norm2 = nn.BatchNorm1d(256)
        self.matrix = nn.Linear(256, 9)
        self.slope = slope
        nn.init.zeros_(self.matrix.weight)
        with torch.no_grad():
            self.matrix.bias.copy_(torch.eye(3).flatten())

    def forward(self, xyz: Tensor, idx: Tensor) -> Tensor:
        """Map clouds ``(B, N, 3)`` with neighbours ``(B, N, K)`` to matrices ``(B, 3, 3)``."""
        x = max_over_points(self.point_layer(self.edge_conv(xyz, idx)))
        x = F.leaky_relu(self.norm1(self.linear1(x)), self.slope)
        x = F.leaky_relu(self.norm2(self.linear2(x)), self.slope)
        return self.matrix(x).view(-1, 3, 3)


class DGCNNSeg(nn.Module):
    """The encoder that CrossPoint pretrains for part segmentation.

    Two double EdgeConvs and a single one, then one wide layer; Wang et al. 2019 and CrossPoint
    (arXiv 2203.00680).

    Args:
        k: neighbours per point, including the point itself.
        embedding: channels of the last layer and of the cloud feature.
        channels: output channels of every EdgeConv.
        in_channels: 3 for coordinates, 6 with normals (the T-Net transforms these too).
        slope: negative slope of the leaky ReLUs.
        align: use the T-Net.
        neighbour_channels: input channels in which the first neighbours are searched. The
            reference network for scenes uses the position within the room (6, 7, 8).

    ``forward(xyz (B, N, 3), feats)`` returns the maximum over the points as the cloud feature and
    the concatenated EdgeConv outputs as point features. Raises UserError if N < k.
    """

    def __init__(
        self,
        k: int = 40,
        embedding: int = 1024,
        channels: int = 64,
        in_channels: int = 3,
        slope: float = 0.2,
        align: bool = True,
        neighbour_channels: Sequence[int] = (0, 1, 2),
    ) -> None:
        super().__init__()
        beyond = [channel for channel in neighbour_channels if not 0 <= channel < in_channels]
        if beyond:
            raise UsageError(
                f"neighbour_channels {list(neighbour_channels)}: the points have the channels 0 to "
                f"{in_channels - 1}"
            )
        self.k = k
        self.in_channels = in_channels
        self.neighbour_channels = list(neighbour_channels)
        self.cloud_dim = embedding
        self.point_dim = 3 * channels
        self.layers = ("edge_conv1", "edge_conv2", "edge_conv3", "last")
        self.transform_net = TransformNet(slope) if align else None
        self.edge_conv1 = DoubleEdgeConv(in_channels, channels, channels, slope)
        self.edge_conv2 = DoubleEdgeConv(channels, channels, channels, slope)
        self.edge_conv3 = EdgeConv(channels, channels, slope)
        self.last = PointLayer(self.point_dim, embedding, slope)

    def forward(self, xyz: Tensor, feats: Tensor | None = None) -> Features:
        x = with_feats(xyz, feats, self.in_channels)
        if self.transform_net is not None:
            matrix = self.transform_net(xyz, knn(xyz, self.k))
            x = torch.cat([part @ matrix for part in x.split(3, dim=-1)], dim=-1)
        x1 = self.edge_conv1(x, knn(x[..., self.neighbour_channels], self.k))
        x2 = self.edge_conv2(x1, knn(x1, self.k))
        x3 = self.edge_conv3(x2, knn(x2, self.k))
        points = torch.cat((x1, x2, x3), dim=-1)
        return Features(max_over_points(self.last(points)), points)
