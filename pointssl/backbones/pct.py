"""PCT: neighbour embeddings downsample the cloud, then offset attention runs on the centres."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from pointssl.backbones.base import Features
from pointssl.backbones.layers import DoubleEdgeConv, PointLayer, with_feats
from pointssl.ops.gather import take_rows
from pointssl.ops.interpolation import interpolate
from pointssl.ops.neighbours import knn_among, require_enough
from pointssl.ops.pooling import max_over_points
from pointssl.ops.sampling import check_start, farthest_points
from pointssl_datasets.base.errors import UsageError


class NeighbourEmbedding(nn.Module):
    """Downsample by farthest point sampling, with a double edge convolution at the centres.

    Maps ``xyz (B, N, 3)`` and ``x (B, N, C)`` to centres ``(B, M, 3)`` and features ``(B, M, O)``.
    """

    def __init__(
        self, in_channels: int, out_channels: int, centres: int, k: int, start: str
    ) -> None:
        super().__init__()
        self.edge_conv = DoubleEdgeConv(in_channels, out_channels, out_channels, slope=0.0)
        check_start(start)
        self.centres, self.k, self.start = centres, k, start

    def forward(self, xyz: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        chosen = farthest_points(xyz, self.centres, self.start)
        places = take_rows(xyz, chosen)
        idx = knn_among(places, xyz, min(self.k, xyz.shape[1]))
        return places, self.edge_conv(x, idx, take_rows(x, chosen))


class OffsetAttention(nn.Module):
    """``x + LBR(x - attention(x))`` with LBR: linear, batch norm, ReLU; keeps ``(B, M, C)``.

    Query and key share one weight.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.query = nn.Linear(channels, max(1, channels // 4), bias=False)  # and the key
        self.value = nn.Linear(channels, channels)
        self.layer = PointLayer(channels, channels, slope=0.0, bias=True)

    def weights(self, x: Tensor) -> Tensor:
        """Compute the attention weights ``(B, 1, M, M)``; rows sum to 1.

        As in the paper: a softmax over the queries, then L1 normalisation over the keys.
        """
        query = self.query(x)
        softmax = torch.softmax(query @ query.mT, dim=-1)
        normalised = softmax / (1e-9 + softmax.sum(dim=1, keepdim=True))
        return normalised.mT[:, None]

    def forward(self, x: Tensor) -> Tensor:
        attended = self.weights(x)[:, 0] @ self.value(x)
        return x + self.layer(x - attended)


class PCT(nn.Module):
    """Two point layers, two neighbour embeddings, offset attention, and one wide layer.

    Guo et al. 2021, PCT: Point Cloud Transformer (arXiv 2012.09688), in the form of the public
    PCT_Pytorch.

    Args:
        k: neighbours per centre, including the centre itself.
        embedding: channels of the last layer and of the cloud feature.
        channels: output channels of the point layers.
        local_channels: output channels of the neighbour embeddings; the last is the width of the
            attention.
        centres: number of centres of each neighbour embedding, capped at its number of points.
        attentions: number of offset-attention layers.
        in_channels: 3 for coordinates, 6 with normals.
        slope: negative slope of the last layer's leaky ReLU; all others are plain ReLUs.
        start: start of the sampling, see :func:`pointssl.ops.sampling.farthest_points`.

    ``forward(xyz (B, N, 3), feats (B, N, in_channels - 3))`` returns the maximum over the last
    centres as the cloud feature. The point features concatenate the point layers' outputs and,
    interpolated from the three nearest centres, the outputs of the neighbour embeddings and of the
    last attention. Raises UserError if N < k.
    """

    def __init__(
        self,
        k: int = 32,
        embedding: int = 1024,
        channels: Sequence[int] = (64, 64),
        local_channels: Sequence[int] = (128, 256),
        centres: Sequence[int] = (512, 256),
        attentions: int = 4,
        in_channels: int = 3,
        slope: float = 0.2,
        start: str = "far",
    ) -> None:
        super().__init__()
        if len(centres) != len(local_channels):
            raise UsageError(
                f"centres {list(centres)} and local_channels {list(local_channels)}: expected one "
                "of each for every neighbour embedding"
            )
        self.k = k
        self.in_channels = in_channels
        width = local_channels[-1]
        self.cloud_dim = embedding
        self.point_dim = sum(channels) + sum(local_channels) + width
        self.point_layers = nn.ModuleList(
            PointLayer(before, after, slope=0.0)
            for before, after in pairwise((in_channels, *channels))
        )
        widths = pairwise((channels[-1], *local_channels))
        self.embeddings = nn.ModuleList(
            NeighbourEmbedding(before, after, count, k, start)
            for (before, after), count in zip(widths, centres, strict=True)
        )
        self.before = nn.Sequential(
            PointLayer(width, width, slope=0.0), PointLayer(width, width, slope=0.0)
        )
        self.attentions = nn.ModuleList(OffsetAttention(width) for _ in range(attentions))
        self.last = PointLayer((attentions + 1) * width, embedding, slope)
        lists = ("point_layers", "embeddings", "attentions")
        names = (f"{name}.{i}" for name in lists for i in range(len(getattr(self, name))))
        self.layers = (*names, "last")

    def forward(self, xyz: Tensor, feats: Tensor | None = None) -> Features:
        x = with_feats(xyz, feats, self.in_channels)
        require_enough(xyz.shape[1], self.k)
        points: list[Tensor] = []
        for layer in self.point_layers:
            x = layer(x)
            points.append(x)
        places, stages = xyz, []
        for embedding in self.embeddings:
            places, x = embedding(places, x)
            stages.append((x, places))
        embedded, x = x, self.before(x)
        attended: list[Tensor] = []
        for attention in self.attentions:
            x = attention(x)
            attended.append(x)
        stages[-1] = torch.cat((embedded, x), dim=-1), places
        points += [interpolate(*stage, xyz) for stage in stages]
        last = self.last(torch.cat((*attended, embedded), dim=-1))
        return Features(max_over_points(last), torch.cat(points, dim=-1))
