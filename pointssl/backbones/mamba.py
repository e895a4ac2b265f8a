"""A state-space trunk over patches of points that stand one after the other."""

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

STEPS = (0.001, 0.1)  # sizes that steps begin with, evenly spread over the logarithm


class Mixer(nn.Module):
    """A selective state space behind a short causal convolution, and a gate beside it.

    ``(B, L, C)`` to the same; Gu and Dao 2023, Mamba (arXiv 2312.00752), with its initialisation.

    Args:
        channels: C.
        state: numbers that each channel remembers.
        width: of the convolution.
        expand: channels inside, in multiples of C.
    """

    no_decay = ("log_rates",)  # as the public code spares them of weight decay

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
            self.step.bias.copy_(steps + torch.log(-torch.expm1(-steps)))  # softplus of it: steps

    def forward(self, x: Tensor) -> Tensor:
        length = x.shape[1]
        x, gate = self.into(x).chunk(2, dim=-1)
        x = F.silu(self.conv(x.mT)[..., :length]).mT  # what hangs over the end would look ahead
        rank, taken, read = self.select(x).split((self.rank, self.state, self.state), dim=-1)
        steps = F.softplus(self.step(rank))
        y = selective_scan(x, steps, -self.log_rates.exp(), taken, read, self.skip)
        return self.back(y * F.silu(gate))


class Block(nn.Module):
    """``x + mixer(norm(x))``, ``(B, L, C)`` to the same."""

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
    """Every token once in each of V orders: places ``(B, V * G, 3)`` and tokens ``(B, V * G, C)``.

    Args:
        channels: C.
        count: V.
        scaled: tokens get a scale and a shift of their own in each order, by which they are told
            apart (PointMamba's order indicator).
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
    """PointMamba: patches of points in several orders, one behind the other, through Mamba blocks.

    Liang et al. 2024 (arXiv 2402.10739). Groups, mini-PointNet and positions are those of
    :class:`pointssl.backbones.patch_transformer.PatchTransformer`; a position is added once, in
    front of the first block.

    Args:
        groups: centres; at most as many as a cloud has points.
        group_size: points of a group; at most as many as the cloud has.
        depth: blocks.
        embedding: channels of the tokens.
        order: ``xyz``: along each axis, as in PointMamba's first version, with two norms at the
            end; ``hilbert``: along a Hilbert curve and along it with x and y exchanged, the tokens
            of either order scaled and shifted, with one norm at the end, as in its second.
        cell: edge of the cells of the Hilbert curve's grid.
        state, conv, expand: of the Mamba blocks: numbers a channel remembers, width of the
            convolution, channels inside in multiples of ``embedding``.
        group_channels: of the mini-PointNet, with a linear bridge to ``embedding``; 0 for none.
        in_channels: 3 for coordinates, 6 with normals.
        taps: the blocks, from 1, whose outputs the point features are made of; at most ``depth``.
        drop_path: rate of left-out branches in the last block, from 0 linearly over the depth.
        start: of the sampling: ``far``, or ``first`` as public code has it.

    ``forward(xyz (B, N, 3), feats (B, N, in_channels - 3))`` gives the mean over the tokens of all
    orders behind the last norm as cloud feature, as both versions do. The point features are the
    tokens behind the blocks ``taps``, each through the last norm, a centre's the mean of its
    appearances, carried to the points by their three nearest centres and set side by side.
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
        serial_orders(torch.zeros(1, 1, 3), order, cell)  # complains of an order it does not know
        second = order == "hilbert"
        self.serialise = Serialise(embedding, ORDERS[order], scaled=second)
        blocks = [
            Block(embedding, state, conv, expand, rate)
            for rate in drop_path_rates(drop_path, depth)
        ]
        with torch.no_grad():
            for block in blocks:  # so that the sum of all does not grow with the depth
                block.mixer.back.weight.div_(depth**0.5)
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.Sequential(*(nn.LayerNorm(embedding) for _ in range(1 if second else 2)))

    def forward(self, xyz: Tensor, feats: Tensor | None = None) -> Features:
        centres, tokens = self.patches(with_feats(xyz, feats, self.in_channels))
        orders = serial_orders(centres, self.order, self.cell)
        places, tokens = self.serialise(centres, tokens, orders)
        outputs = self.trunk(tokens, self.patches.position(places), self.taps)
        points = _on_centres(torch.cat(outputs[:-1], dim=-1), orders)
        return Features(outputs[-1].mean(dim=1), interpolate(points, centres, xyz))

    def trunk(self, tokens: Tensor, positions: Tensor, taps: Sequence[int] = ()) -> list[Tensor]:
        """The blocks on any tokens in order, e.g. on those that a mask leaves.

        Args:
            tokens: ``(B, M, embedding)``, of ``serialise``.
            positions: the same shape, of ``patches.position``.
            taps: blocks whose outputs are wanted.

        Returns:
            Behind each of the blocks ``taps`` and behind the last block the tokens through the last
            norm, ``(B, M, embedding)``.
        """
        tokens = tokens + positions
        found = {}
        for number, block in enumerate(self.blocks, start=1):
            tokens = block(tokens)
            if number in taps or number == len(self.blocks):
                found[number] = self.norm(tokens)
        return [found[tap] for tap in (*taps, len(self.blocks))]


def _on_centres(tokens: Tensor, orders: Tensor) -> Tensor:
    """The mean of each centre's tokens: ``(B, V * G, C)`` and orders ``(B, V, G)`` to
    ``(B, G, C)``."""
    count, groups = orders.shape[1:]
    first = torch.arange(count, device=orders.device)[:, None] * groups
    return take_rows(tokens, orders.argsort(dim=-1) + first).mean(dim=1)
