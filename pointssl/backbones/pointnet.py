"""PointNet: shared layers on every point, then the maximum; T-Nets align points and features."""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pointssl.backbones.base import Features
from pointssl.backbones.layers import PointLayer, with_feats
from pointssl.ops.pooling import max_over_points
from pointssl_datasets.base.errors import UsageError


def point_layers(*widths: int) -> nn.Sequential:
    """Build a stack of linear, norm and ReLU on every point, with these channel ``widths``."""
    return nn.Sequential(*(PointLayer(a, b, slope=0.0, bias=True) for a, b in pairwise(widths)))


class TNet(nn.Module):
    """T-Net: predicts a square matrix per cloud, initially the identity.

    Args:
        size: rows and columns of the matrix.
        channels: output channels of the layers on points.
        hidden: output channels of the layers after the maximum.
    """

    def __init__(
        self, in_channels: int, size: int, channels: Sequence[int], hidden: Sequence[int]
    ) -> None:
        super().__init__()
        self.size = size
        self.point_layers = point_layers(in_channels, *channels)
        widths = (channels[-1], *hidden)
        self.linears = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.norms = nn.ModuleList(nn.BatchNorm1d(width) for width in hidden)
        self.matrix = nn.Linear(widths[-1], size * size)
        nn.init.zeros_(self.matrix.weight)
        nn.init.zeros_(self.matrix.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, N, C)`` to ``(B, size, size)``."""
        x = max_over_points(self.point_layers(x))
        for linear, norm in zip(self.linears, self.norms, strict=True):
            x = F.relu(norm(linear(x)))
        eye = torch.eye(self.size, dtype=x.dtype, device=x.device)
        return self.matrix(x).view(-1, self.size, self.size) + eye


class PointNet(nn.Module):
    """Qi et al. 2017, PointNet (arXiv 1612.00593), in the form of Pointnet_Pointnet2_pytorch.

    The part-segmentation network there has ``channels=(64, 128, 128, 512)``, ``embedding=2048`` and
    ``transform_after=3``.

    Args:
        embedding: channels of the last layer (norm without ReLU) and of the cloud feature.
        channels: output channels of the layers before the last.
        align: transform the coordinates by a T-Net, which sees all channels of the points.
        feature_transform: transform features by the matrix of a second T-Net.
        transform_after: the layer, counted from 1, whose output is transformed.
        tnet_channels, tnet_hidden: ``channels`` and ``hidden`` of both T-Nets.
        in_channels: 3 for coordinates, 6 with normals (which the T-Net does not transform).

    ``forward(xyz (B, N, 3), feats (B, N, in_channels - 3))`` returns the maximum over the points as
    the cloud feature, and the concatenated outputs of all layers before the last, without the
    feature transform, as point features. Clouds of a single point are allowed.
    """

    def __init__(
        self,
        embedding: int = 1024,
        channels: Sequence[int] = (64, 128),
        align: bool = True,
        feature_transform: bool = True,
        transform_after: int = 1,
        tnet_channels: Sequence[int] = (64, 128, 1024),
        tnet_hidden: Sequence[int] = (512, 256),
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        if not 1 <= transform_after <= len(channels):
            raise UsageError(
                f"transform_after {transform_after}: expected 1 to {len(channels)}, as there are "
                f"the channels {list(channels)}"
            )
        self.in_channels = in_channels
        self.cloud_dim = embedding
        self.point_dim = sum(channels)
        self.transform_after = transform_after
        self.align = TNet(in_channels, 3, tnet_channels, tnet_hidden) if align else None
        width = channels[transform_after - 1]
        self.transform = (
            TNet(width, width, tnet_channels, tnet_hidden) if feature_transform else None
        )
        self.point_layers = point_layers(in_channels, *channels)
        self.last = PointLayer(channels[-1], embedding, slope=1.0, bias=True)  # no ReLU
        self.layers = (*(f"point_layers.{i}" for i in range(len(channels))), "last")

    def forward(self, xyz: Tensor, feats: Tensor | None = None) -> Features:
        x = with_feats(xyz, feats, self.in_channels)
        if self.align is not None:
            x = torch.cat((x[..., :3] @ self.align(x), x[..., 3:]), dim=-1)
        outputs: list[Tensor] = []
        for layer in self.point_layers:
            x = layer(x)
            outputs.append(x)
            if self.transform is not None and len(outputs) == self.transform_after:
                x = x @ self.transform(x)
        return Features(max_over_points(self.last(x)), torch.cat(outputs, dim=-1))
