"""Layers that the DGCNN family shares, channel-last."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pointssl.ops.edge_conv import double_edge_conv, edge_conv, frozen_norm
from pointssl.ops.norm_act import has_kernel, norm_act
from pointssl_datasets.base.errors import UserError

# What brings an encoder's channels along, for who has others.
OTHER = {
    3: "leave --normals out",
    6: "coordinates are 3, normals 3 more; see --normals",
    9: "coordinates, colours and places in a room are those of s3dis",
}


class PointLayer(nn.Module):
    """Linear, batch norm, leaky ReLU on every point: ``(B, N, C)`` to ``(B, N, O)``.

    The norm takes away what a ``bias`` of the linear layer adds; some public code has one anyway.
    """

    def __init__(
        self, in_channels: int, out_channels: int, slope: float = 0.2, bias: bool = False
    ) -> None:
        super().__init__()
        self.linear = nn.Linear(in_channels, out_channels, bias=bias)
        self.norm = nn.BatchNorm1d(out_channels)
        self.slope = slope

    def forward(self, x: Tensor) -> Tensor:
        if not self.norm.training and has_kernel(x, self.norm):
            y = F.linear(x, self.linear.weight, self.linear.bias)
            rows = y.reshape(-1, y.shape[-1])
            return norm_act(rows, self.norm, self.slope, overwrite=True).view_as(y)
        if not self.norm.training:  # the norm folded into the layer: one tensor less
            scale, shift = frozen_norm(self.norm)
            if self.linear.bias is not None:
                shift = torch.addcmul(shift, self.linear.bias, scale)
            y = F.linear(x, self.linear.weight * scale[:, None], shift)
            return F.leaky_relu(y, self.slope, inplace=True)
        return self.activate(self.linear(x))

    def activate(self, y: Tensor) -> Tensor:
        """Norm and leaky ReLU of what the linear layer gave, ``(..., O)``."""
        return norm_act(y.reshape(-1, y.shape[-1]), self.norm, self.slope).view_as(y)


class EdgeConv(nn.Module):
    """One layer on the edges to each point's neighbours, then the maximum.

    ``(B, N, C)`` and neighbours ``(B, M, K)`` of the points, or of M ``centres (B, M, C)``, to
    ``(B, M, O)``; Wang et al. 2019.
    """

    def __init__(self, in_channels: int, out_channels: int, slope: float = 0.2) -> None:
        super().__init__()
        self.linear = nn.Linear(2 * in_channels, out_channels, bias=False)
        self.norm = nn.BatchNorm1d(out_channels)
        self.slope = slope

    def forward(self, x: Tensor, idx: Tensor, centres: Tensor | None = None) -> Tensor:
        return edge_conv(x, idx, self.linear.weight, self.norm, self.slope, centres)


class DoubleEdgeConv(nn.Module):
    """Two layers on the edges, then the maximum: ``(B, N, C)`` to ``(B, M, P)``."""

    def __init__(
        self, in_channels: int, hidden: int, out_channels: int, slope: float = 0.2
    ) -> None:
        super().__init__()
        self.linear1 = nn.Linear(2 * in_channels, hidden, bias=False)
        self.norm1 = nn.BatchNorm1d(hidden)
        self.linear2 = nn.Linear(hidden, out_channels, bias=False)
        self.norm2 = nn.BatchNorm1d(out_channels)
        self.slope = slope

    def forward(self, x: Tensor, idx: Tensor, centres: Tensor | None = None) -> Tensor:
        first = self.linear1.weight, self.norm1
        second = self.linear2.weight, self.norm2
        return double_edge_conv(x, idx, *first, *second, self.slope, centres)


def with_feats(xyz: Tensor, feats: Tensor | None, in_channels: int) -> Tensor:
    """Coordinates and further channels side by side, ``(B, N, in_channels)``.

    Raises:
        UserError: the data do not have the channels that the encoder was made for.
    """
    if not isinstance(xyz, Tensor) or xyz.dim() != 3:
        shape = tuple(getattr(xyz, "shape", ()))
        raise UserError(f"expected clouds as a tensor (B, N, 3), got {type(xyz).__name__} {shape}")
    x = xyz if feats is None else torch.cat((xyz, feats), dim=-1)
    if x.shape[-1] != in_channels:
        raise UserError(
            f"the encoder takes {in_channels} channels a point, the data have {x.shape[-1]}: "
            + OTHER.get(in_channels, "from Python give it the others as `feats`")
        )
    return x
