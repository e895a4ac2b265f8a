"""The classification DGCNN, as CrossPoint and dgcnn.pytorch build it."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pointssl.backbones.base import Features
from pointssl.backbones.layers import EdgeConv, PointLayer, with_feats
from pointssl.ops.neighbours import knn
from pointssl.ops.pooling import max_and_mean_over_points


class DGCNN(nn.Module):
    """Four EdgeConvs, each on nearest neighbours in its input features, then one wide layer.

    Wang et al. 2019 (arXiv 1801.07829), with the hyper-parameters of CrossPoint (arXiv 2203.00680).

    Args:
        k: neighbours per point, including the point itself.
        embedding: channels of the last layer; the cloud feature has twice as many.
        channels: output channels of each EdgeConv.
        in_channels: 3 for coordinates, 6 with normals.
        slope: negative slope of the leaky ReLUs.

    ``forward(xyz (B, N, 3), feats (B, N, in_channels - 3))`` returns the concatenated maximum and
    mean over the points as the cloud feature, and the concatenated EdgeConv outputs as point
    features. Raises UserError if N < k.
    """

    def __init__(
        self,
        k: int = 20,
        embedding: int = 1024,
        channels: Sequence[int] = (64, 64, 128, 256),
        in_channels: int = 3,
        slope: float = 0.2,
    ) -> None:
        super().__init__()
        self.k = k
        self.in_channels = in_channels
        self.cloud_dim = 2 * embedding
        self.point_dim = sum(channels)
        self.layers = (*(f"edge_convs.{i}" for i in range(len(channels))), "last")
        widths = [in_channels, *channels]
        self.edge_convs = nn.ModuleList(
            EdgeConv(before, after, slope) for before, after in zip(widths, channels, strict=False)
        )
        self.last = PointLayer(self.point_dim, embedding, slope)

    def forward(self, xyz: Tensor, feats: Tensor | None = None) -> Features:
        x = with_feats(xyz, feats, self.in_channels)
        idx = knn(xyz, self.k)  # the first graph uses coordinates only, even with extra channels
        outputs: list[Tensor] = []
        for layer in self.edge_convs:
            if outputs:
                idx = knn(x, self.k)
            x = layer(x, idx)
            outputs.append(x)
        points = torch.cat(outputs, dim=-1)
        last = self.last(points)
        cloud = torch.cat(max_and_mean_over_points(last), dim=-1)
        return Features(cloud, points)
