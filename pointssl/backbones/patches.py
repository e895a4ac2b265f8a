"""Point patches as tokens, shared by the transformer and the Mamba backbone."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pointssl.ops.gather import take_rows
from pointssl.ops.neighbours import knn_among
from pointssl.ops.norm_act import norm_act
from pointssl.ops.sampling import check_start, farthest_points
from pointssl_datasets.base.errors import UsageError


class MiniPointNet(nn.Module):
    """Embed each group of points as a token: ``(B, G, S, C)`` to ``(B, G, O)``.

    Two layers on every point; the maximum over the group, concatenated to every point; two more
    layers; the maximum. Yu et al. 2022, Point-BERT (arXiv 2111.14819).
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.linear1 = nn.Linear(in_channels, 128)
        self.norm1 = nn.BatchNorm1d(128)
        self.linear2 = nn.Linear(128, 256)
        self.linear3 = nn.Linear(512, 512)
        self.norm2 = nn.BatchNorm1d(512)
        self.linear4 = nn.Linear(512, out_channels)

    def forward(self, groups: Tensor) -> Tensor:
        clouds, count, size, channels = groups.shape
        rows = groups.reshape(-1, channels)
        x = self.linear2(norm_act(self.linear1(rows), self.norm1, 0.0))
        group_max = x.view(-1, size, 256).amax(dim=1)
        # A layer on [maximum ; point] is a sum of two; the maximum's part is computed once a group.
        max_weight, point_weight = self.linear3.weight.split(256, dim=1)
        x = F.linear(x, point_weight, self.linear3.bias).view(-1, size, 512)
        x = (x + F.linear(group_max, max_weight)[:, None]).flatten(0, 1)
        x = self.linear4(norm_act(x, self.norm2, 0.0))
        return x.view(clouds, count, size, -1).amax(dim=2)


class Patches(nn.Module):
    """Patch embedding: groups of neighbours around farthest points, as tokens with positions.

    Args:
        groups: number of centres, chosen by farthest point sampling; capped at the number of
            points.
        size: points per group, those nearest to its centre; capped at the number of points.
        embedding: channels of tokens and positions.
        group_channels: output channels of the mini-PointNet, followed by a linear layer to
            ``embedding`` (Point-BERT has 256); 0 for none.
        in_channels: channels per point; the first three are taken relative to the centre.
        start: start of the sampling, see :func:`pointssl.ops.sampling.farthest_points`.

    Raises UsageError for negative ``group_channels``.

    ``forward(x (B, N, in_channels))`` returns the centres ``(B, G, 3)`` and the tokens
    ``(B, G, embedding)``; its steps are :meth:`group` and :meth:`embed`. ``position`` maps centres
    to positions.
    """

    def __init__(
        self,
        groups: int,
        size: int,
        embedding: int,
        group_channels: int = 0,
        in_channels: int = 3,
        start: str = "far",
    ) -> None:
        super().__init__()
        if group_channels < 0:
            raise UsageError(f"group_channels {group_channels}: expected at least 1, or 0 for none")
        check_start(start)
        self.groups, self.size, self.start = groups, size, start
        self.net = MiniPointNet(in_channels, group_channels or embedding)
        self.bridge = nn.Linear(group_channels, embedding) if group_channels else nn.Identity()
        self.position = nn.Sequential(nn.Linear(3, 128), nn.GELU(), nn.Linear(128, embedding))

    def group(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return groups ``(B, G, S, in_channels)`` relative to their centres, and the centres
        ``(B, G, 3)``."""
        xyz = x[..., :3]
        centres = take_rows(xyz, farthest_points(xyz, self.groups, self.start))
        groups = take_rows(x, knn_among(centres, xyz, min(self.size, xyz.shape[1])))
        origin = F.pad(centres, (0, x.shape[-1] - 3))[:, :, None]
        return groups - origin, centres

    def embed(self, groups: Tensor) -> Tensor:
        """Embed groups ``(B, G, S, in_channels)`` as tokens ``(B, G, embedding)``."""
        return self.bridge(self.net(groups))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        groups, centres = self.group(x)
        return centres, self.embed(groups)


class DropPath(nn.Module):
    """Stochastic depth: in training, drop a cloud's whole branch with probability ``rate`` and
    scale the others by ``1 / (1 - rate)``. Huang et al. 2016 (arXiv 1603.09382)."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return x
        kept = torch.rand(len(x), *(1,) * (x.dim() - 1), device=x.device) >= self.rate
        return x * (kept / (1 - self.rate)).to(x.dtype)


def check_rate(name: str, rate: float) -> None:
    """Raise UsageError unless ``rate`` is in [0, 1)."""
    if not 0 <= rate < 1:
        raise UsageError(f"{name} {rate}: expected a rate from 0 to below 1")


def drop_path_rates(rate: float, depth: int) -> list[float]:
    """Return the stochastic-depth rate of each block, rising linearly from 0 to ``rate``.

    Raises:
        UsageError: ``rate`` is not in [0, 1).
    """
    check_rate("drop_path", rate)
    return [rate * block / max(depth - 1, 1) for block in range(depth)]


def check_taps(taps: Sequence[int], depth: int) -> list[int]:
    """Validate the numbers of the blocks, counted from 1, whose outputs become point features.

    Raises:
        UsageError: there are none, or one is not in 1 to ``depth``.
    """
    beyond = [tap for tap in taps if not 1 <= tap <= depth]
    if beyond or not taps:
        raise UsageError(f"taps {list(taps)}: expected some of the blocks 1 to {depth}, the depth")
    return list(taps)


def init_as_vit(module: nn.Module) -> None:
    """Initialise linear layers with normal weights (std 0.02) and zero biases, as the public code
    of these networks does."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.trunc_normal_(layer.weight, std=0.02)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
