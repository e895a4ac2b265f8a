"""Channel-last layers that several backbones share."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pointssl.ops.edge_conv import double_edge_conv, edge_conv, frozen_norm
from pointssl.ops.norm_act import has_kernel, norm_act
from pointssl_datasets.base.errors import UserError

# How to supply the channels that an encoder expects, for error messages.
CHANNEL_HINTS = {
    3: "leave --normals out",
    6: "3 coordinates and 3 normals; see --normals",
    9: "s3dis has coordinates, colours and positions within the room",
}


class PointLayer(nn.Module):
    """Linear, batch norm and leaky ReLU on every point: ``(B, N, C)`` to ``(B, N, O)``.

    The norm cancels the linear layer's ``bias``; some public code has one anyway.
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
        if not self.norm.training:  # fold the norm into the linear layer: one tensor less
            scale, shift = frozen_norm(self.norm)
            if self.linear.bias is not None:
                shift = torch.addcmul(shift, self.linear.bias, scale)
            y = F.linear(x, self.linear.weight * scale[:, None], shift)
            return F.leaky_relu(y, self.slope, inplace=True)
        return self.activate(self.linear(x))

    def activate(self, y: Tensor) -> Tensor:
        """Apply norm and leaky ReLU to the linear layer's output ``(..., O)``."""
        return norm_act(y.reshape(-1, y.shape[-1]), self.norm, self.slope).view_as(y)


class EdgeConv(nn.Module):
    """Edge convolution: one layer on the edges to each point's neighbours, then the maximum.

    Wang et al. 2019. Maps ``(B, N, C)`` and the neighbours ``(B, M, K)`` of the points, or of M
    ``centres (B, M, C)``, to ``(B, M, O)``.
    """

    def __init__(self, in_channels: int, out_channels: int, slope: float = 0.2) -> None:
        super().__init__()
        self.linear = nn.Linear(2 * in_channels, out_channels, bias=False)
        self.norm = nn.BatchNorm1d(out_channels)
        self.slope = slope

    def forward(self, x: Tensor, idx: Tensor, centres: Tensor | None = None) -> Tensor:
        return edge_conv(x, idx, self.linear.weight, self.norm, self.slope, centres)


class DoubleEdgeConv(nn.Module):
    """Edge convolution with two layers before the maximum: ``(B, N, C)`` to ``(B, M, P)``."""

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
    """Concatenate coordinates and extra channels to ``(B, N, in_channels)``.

    Raises:
        UserError: the data do not have the number of channels that the encoder expects.
    """
    if not isinstance(xyz, Tensor) or xyz.dim() != 3:
        shape = tuple(getattr(xyz, "shape", ()))
        raise UserError(f"expected clouds as a tensor (B, N, 3), got {type(xyz).__name__} {shape}")
    x = xyz if feats is None else torch.cat((xyz, feats), dim=-1)
    if x.shape[-1] != in_channels:
        raise UserError(
            f"the encoder takes {in_channels} channels per point, the data have {x.shape[-1]}: "
            + CHANNEL_HINTS.get(in_channels, "from Python pass the others as `feats`")
        )
    return x
