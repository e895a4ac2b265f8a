"""PointMamba: a state-space model over serialised patches of points."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pointssl.backbones.base import Features
from pointssl.backbones.layers import with_feats
from pointssl.backbones.patches import (
    DropPath,
    Patches,
    check_taps,
    drop_path_rates,
    init_as_vit,
)
from pointssl.ops.gather import take_rows
from pointssl.ops.interpolation import interpolate
from pointssl.ops.selective_scan import selective_scan
from pointssl.ops.serialise import ORDERS, serial_orders

STEPS = (0.001, 0.1)  # range of the initial step sizes, log-uniform


class Mixer(nn.Module):
    """Selective state space after a short causal convolution, multiplied by a gate.

    Gu and Dao 2023, Mamba (arXiv 2312.00752), with its initialisation. Keeps the shape
    ``(B, L, C)``.

    Args:
        channels: C.
        state: state size per channel.
        width: kernel size of the convolution.
        expand: inner channels, as a multiple of C.
    """

    no_decay = ("log_rates",)  # the public code excludes them from weight decay

    def __init__(self, channels: int, state: int, width: int, expand: int) -> None:
        super().__init__()
        inner, self.rank = expand * channels, math.ceil(channels / 16)
        self.into = nn.Linear(channels, 2 * inner, bias=False)
        self.conv = nn.Conv1d(inner, inner, width, groups=inner, padding=width - 1)
        self.select = nn.Linear(inner, self.rank + 2 * state, bias=False)
        self.step = nn.Linear(self.rank, inner)
        self.log_rates = nn.Parameter(torch.arange(1.0, state + 1).log().repeat(inner, 1))
        self.skip = nn.Parameter(torch.ones(inner))
        self.back = nn.Linear(inner, channels, bias=False)
        self.state = state
        nn.init.uniform_(self.step.weight, -(self.rank**-0.5), self.rank**-0.5)
        with torch.no_grad():
            steps = torch.empty(inner).uniform_(*(math.log(size) for size in STEPS)).exp()
            self.step.bias.copy_(steps + torch.log(-torch.expm1(-steps)))  # inverse softplus

    def forward(self, x: Tensor) -> Tensor:
        length = x.shape[1]
        x, gate = self.into(x).chunk(2, dim=-1)
        x = F.silu(self.conv(x.mT)[..., :length]).mT  # cut the right padding: keep it causal
        low_rank, b, c = self.select(x).split((self.rank, self.state, self.state), dim=-1)
        steps = F.softplus(self.step(low_rank))
        y = selective_scan(x, steps, -self.log_rates.exp(), b, c, self.skip)
        return self.back(y * F.silu(gate))


class Block(nn.Module):
    """Residual block ``x + mixer(norm(x))``; keeps the shape ``(B, L, C)``."""

    def __init__(
        self, channels: int, state: int, width: int, expand: int, drop_path: float
    ) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.mixer = Mixer(channels, state, width, expand)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.drop_path(self.mixer(self.norm(x)))


class Serialise(nn.Module):
    """Concatenate the tokens in each of V orders.

    Returns places ``(B, V * G, 3)`` and tokens ``(B, V * G, C)``.

    Args:
        channels: C.
        count: V.
        scaled: give each order a learned scale and shift of its tokens, so that the network can
            tell the orders apart (PointMamba's order indicator).
    """

    def __init__(self, channels: int, count: int, scaled: bool) -> None:
        super().__init__()
        drawn = [0.02 * torch.randn(2, channels) for _ in range(count if scaled else 0)]
        self.scales = nn.ParameterList(nn.Parameter(1 + scale) for scale, _ in drawn)
        self.shifts = nn.ParameterList(nn.Parameter(shift.clone()) for _, shift in drawn)

    def forward(self, centres: Tensor, tokens: Tensor, orders: Tensor) -> tuple[Tensor, Tensor]:
        places, tokens = take_rows(centres, orders), take_rows(tokens, orders)
        if len(self.scales):
            scale, shift = torch.stack(list(self.scales)), torch.stack(list(self.shifts))
            tokens = tokens * scale[:, None] + shift[:, None]
        return places.flatten(1, 2), tokens.flatten(1, 2)


class PointMamba(nn.Module):
    """PointMamba: patch tokens, serialised in several orders, pass through Mamba blocks.

    Liang et al. 2024 (arXiv 2402.10739). Groups, mini-PointNet and positions are those of
    :class:`pointssl.backbones.patch_transformer.PatchTransformer`; the positions are added once,
    before the first block.

    Args:
        groups: number of groups (tokens), capped at the number of points.
        group_size: points per group, capped at the number of points.
        depth: number of blocks.
        embedding: channels of the tokens.
        order: ``xyz``: sorted along each axis, with two final norms, as in PointMamba's first
            version; ``hilbert``: along a Hilbert curve and the same curve with x and y swapped,
            with a scale and shift per order and one final norm, as in its second version.
        cell: edge length of the cells of the Hilbert curve's grid.
        state, conv, expand: of the Mamba blocks: state size per channel, kernel size of the
            convolution, inner channels as a multiple of ``embedding``.
        group_channels: output channels of the mini-PointNet, followed by a linear layer to
            ``embedding``; 0 for none.
        in_channels: 3 for coordinates, 6 with normals.
        taps: blocks, counted from 1, whose outputs form the point features; at most ``depth``.
        drop_path: stochastic-depth rate of the last block; it rises linearly from 0.
        start: first point of the farthest point sampling: ``far``, or ``first`` as in public code.

    ``forward(xyz (B, N, 3), feats (B, N, in_channels - 3))`` returns the mean over the normalised
    tokens of all orders as the cloud feature, as both versions do. For the point features, the
    outputs of the blocks ``taps`` pass through the last norm, each centre averages its tokens over
    the orders, and the result is interpolated from the three nearest centres and concatenated.
    """

    def __init__(
        self,
        groups: int = 64,
        group_size: int = 32,
        depth: int = 12,
        embedding: int = 384,
        order: str = "xyz",
        cell: float = 0.02,
        state: int = 16,
        conv: int = 4,
        expand: int = 2,
        group_channels: int = 0,
        in_channels: int = 3,
        taps: Sequence[int] = (4, 8, 12),
        drop_path: float = 0.1,
        start: str = "far",
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.order, self.cell = order, cell
        self.taps = check_taps(taps, depth)
        self.cloud_dim = embedding
        self.point_dim = len(self.taps) * embedding
        self.layers = ("patches", "serialise", *(f"blocks.{i}" for i in range(depth)), "norm")
        self.patches = Patches(groups, group_size, embedding, group_channels, in_channels, start)
        init_as_vit(self.patches)
        serial_orders(torch.zeros(1, 1, 3), order, cell)  # raises UsageError for an unknown order
        second = order == "hilbert"
        self.serialise = Serialise(embedding, ORDERS[order], scaled=second)
        blocks = [
            Block(embedding, state, conv, expand, rate)
            for rate in drop_path_rates(drop_path, depth)
        ]
        with torch.no_grad():
            for block in blocks:  # keeps the residual stream from growing with the depth
                block.mixer.back.weight.div_(depth**0.5)
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.Sequential(*(nn.LayerNorm(embedding) for _ in range(1 if second else 2)))

    def forward(self, xyz: Tensor, feats: Tensor | None = None) -> Features:
        centres, tokens = self.patches(with_feats(xyz, feats, self.in_channels))
        orders = serial_orders(centres, self.order, self.cell)
        places, tokens = self.serialise(centres, tokens, orders)
        outputs = self.trunk(tokens, self.patches.position(places), self.taps)
        points = _mean_over_orders(torch.cat(outputs[:-1], dim=-1), orders)
        return Features(outputs[-1].mean(dim=1), interpolate(points, centres, xyz))

    def trunk(self, tokens: Tensor, positions: Tensor, taps: Sequence[int] = ()) -> list[Tensor]:
        """Run the blocks on any sequence of tokens, e.g. the visible ones of a mask.

        Args:
            tokens: ``(B, M, embedding)``, from ``serialise``.
            positions: the same shape, from ``patches.position``.
            taps: blocks whose outputs are returned.

        Returns:
            The normalised tokens ``(B, M, embedding)`` after each of the blocks ``taps`` and after
            the last block.
        """
        tokens = tokens + positions
        outputs = {}
        for number, block in enumerate(self.blocks, start=1):
            tokens = block(tokens)
            if number in taps or number == len(self.blocks):
                outputs[number] = self.norm(tokens)
        return [outputs[tap] for tap in (*taps, len(self.blocks))]


def _mean_over_orders(tokens: Tensor, orders: Tensor) -> Tensor:
    """Average each centre's tokens: ``(B, V * G, C)`` and orders ``(B, V, G)`` to
    ``(B, G, C)``."""
    count, groups = orders.shape[1:]
    first = torch.arange(count, device=orders.device)[:, None] * groups
    return take_rows(tokens, orders.argsort(dim=-1) + first).mean(dim=1)
