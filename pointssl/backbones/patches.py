"""Patches of points as tokens, shared by the trunks that work on them."""

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
    """A token for each group of points: ``(B, G, S, C)`` to ``(B, G, O)``.

    Two layers on every point, the maximum over the group beside every point, two more layers, the
    maximum. Yu et al. 2022, Point-BERT (arXiv 2111.14819).
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
        whole = x.view(-1, size, 256).amax(dim=1)
        # A layer on [maximum ; point] is the sum of one on each: the maximum's once a group.
        of_whole, of_point = self.linear3.weight.split(256, dim=1)
        x = F.linear(x, of_point, self.linear3.bias).view(-1, size, 512)
        x = (x + F.linear(whole, of_whole)[:, None]).flatten(0, 1)
        x = self.linear4(norm_act(x, self.norm2, 0.0))
        return x.view(clouds, count, size, -1).amax(dim=2)


class Patches(nn.Module):
    """Groups of neighbours around centres that cover the cloud, as tokens with positions.

    Args:
        groups: centres, by farthest point sampling; a smaller cloud has as many as it has points.
        size: points of a group, those nearest to its centre; at most all of the cloud.
        embedding: channels of tokens and positions.
        group_channels: of the mini-PointNet's output, where a linear bridge to ``embedding``
            follows it (Point-BERT has 256); 0 for none.
        in_channels: of a point; its first three are taken relative to the centre.
        start: of the sampling, see :func:`pointssl.ops.sampling.farthest_points`.

    Raises UsageError for fewer than 0 ``group_channels``.

    ``forward(x (B, N, in_channels))`` gives the centres ``(B, G, 3)`` and the tokens
    ``(B, G, embedding)``; :meth:`group`, :meth:`embed` and ``position`` are its steps.
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
        """Groups ``(B, G, S, in_channels)`` relative to their centres, and these ``(B, G, 3)``."""
        xyz = x[..., :3]
        centres = take_rows(xyz, farthest_points(xyz, self.groups, self.start))
        groups = take_rows(x, knn_among(centres, xyz, min(self.size, xyz.shape[1])))
        origin = F.pad(centres, (0, x.shape[-1] - 3))[:, :, None]
        return groups - origin, centres

    def embed(self, groups: Tensor) -> Tensor:
        """Tokens of groups, ``(B, G, S, in_channels)`` to ``(B, G, embedding)``."""
        return self.bridge(self.net(groups))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        groups, centres = self.group(x)
        return centres, self.embed(groups)


class DropPath(nn.Module):
    """In training leaves out a cloud's whole branch with probability ``rate`` and scales the others
    up. Huang et al. 2016 (arXiv 1603.09382)."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return x
        kept = torch.rand(len(x), *(1,) * (x.dim() - 1), device=x.device) >= self.rate
        return x * (kept / (1 - self.rate)).to(x.dtype)


def check_rate(name: str, rate: float) -> None:
    """Raises UsageError unless ``rate`` is a probability of leaving out, below 1."""
    if not 0 <= rate < 1:
        raise UsageError(f"{name} {rate}: expected a rate from 0 to below 1")


def drop_path_rates(rate: float, depth: int) -> list[float]:
    """Of each block: from 0 linearly to ``rate``.

    Raises:
        UsageError: not from 0 to below 1.
    """
    check_rate("drop_path", rate)
    return [rate * block / max(depth - 1, 1) for block in range(depth)]


def check_taps(taps: Sequence[int], depth: int) -> list[int]:
    """The numbers of the blocks, from 1, whose outputs become point features.

    Raises:
        UsageError: none, or a network of ``depth`` blocks has no such block.
    """
    beyond = [tap for tap in taps if not 1 <= tap <= depth]
    if beyond or not taps:
        raise UsageError(f"taps {list(taps)}: expected some of the blocks 1 to {depth}, the depth")
    return list(taps)


def init_as_vit(module: nn.Module) -> None:
    """Normal weights of deviation 0.02 and no biases, as the public code of these networks has."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.trunc_normal_(layer.weight, std=0.02)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
