"""Point Transformer of bottleneck blocks, for clouds of equal sizes or packed ones of any."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pointssl.backbones.base import Features
from pointssl.backbones.layers import PointLayer, with_feats
from pointssl.ops.gather import rows_of
from pointssl.ops.levels import Level, levels
from pointssl.ops.neighbours import require_enough
from pointssl.ops.norm_act import norm_act
from pointssl.ops.packed import packed_interpolate, per_cloud, per_point, sizes_of
from pointssl.ops.sampling import check_start
from pointssl_datasets.base.errors import UsageError, UserError


class VectorAttention(nn.Module):
    """``sum_j a_ij (v_j + p_ij)``: ``p_ij`` is an MLP of the difference of the places, ``a_ij`` one
    of ``k_j - q_i + p_ij`` and through a softmax over the neighbours.

    ``share`` channels, those that stand ``channels // share`` apart, have one weight in common.
    """

    def __init__(self, channels: int, share: int) -> None:
        super().__init__()
        weights = channels // share
        self.linear_q = nn.Linear(channels, channels)
        self.linear_k = nn.Linear(channels, channels)
        self.linear_v = nn.Linear(channels, channels)
        self.linear_p = nn.Sequential(
            nn.Linear(3, 3), nn.BatchNorm1d(3), nn.ReLU(inplace=True), nn.Linear(3, channels)
        )
        self.linear_w = nn.Sequential(
            nn.BatchNorm1d(channels), nn.ReLU(inplace=True), nn.Linear(channels, weights),
            nn.BatchNorm1d(weights), nn.ReLU(inplace=True), nn.Linear(weights, weights),
        )  # fmt: skip
        self.share = share

    def forward(self, x: Tensor, level: Level) -> Tensor:
        idx, apart = level.near
        points, k = idx.shape
        place = self.linear_p(apart.flatten(0, 1)).view(points, k, -1)
        edges = rows_of(self.linear_k(x), idx) - self.linear_q(x)[:, None] + place
        weight = self.linear_w(edges.flatten(0, 1)).view(points, k, 1, -1).softmax(dim=1)
        values = rows_of(self.linear_v(x), idx) + place
        return (values.view(points, k, self.share, -1) * weight).sum(1).flatten(1)


class Bottleneck(nn.Module):
    """A residual block: linear, attention and linear, each with batch norm, ``(T, C)``."""

    def __init__(self, channels: int, share: int) -> None:
        super().__init__()
        self.linear1 = nn.Linear(channels, channels, bias=False)
        self.norm1 = nn.BatchNorm1d(channels)
        self.attention = VectorAttention(channels, share)
        self.norm2 = nn.BatchNorm1d(channels)
        self.linear3 = nn.Linear(channels, channels, bias=False)
        self.norm3 = nn.BatchNorm1d(channels)

    def forward(self, x: Tensor, level: Level) -> Tensor:
        y = norm_act(self.linear1(x), self.norm1, 0.0)
        y = norm_act(self.attention(y, level), self.norm2, 0.0)
        return F.relu(self.norm3(self.linear3(y)) + x)


class TransitionDown(nn.Module):
    """One layer on ``[x_j - x_i ; f_j]``, then the maximum over the neighbours above each point; at
    a stage that keeps all points one layer on them."""

    def __init__(self, channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        channels += 3 if stride > 1 else 0
        self.linear = nn.Linear(channels, out_channels, bias=False)
        self.norm = nn.BatchNorm1d(out_channels)

    def forward(self, x: Tensor, level: Level) -> Tensor:
        if level.above is None:
            return norm_act(self.linear(x), self.norm, 0.0)
        idx, apart = level.above
        of_place, of_point = self.linear.weight.split([3, x.shape[1]], dim=1)
        # What a neighbour brings along is multiplied once for the point, not once for each edge.
        edges = F.linear(apart, of_place) + rows_of(F.linear(x, of_point), idx)
        return F.relu(self.norm(edges.flatten(0, 1)).view_as(edges).amax(dim=1))


class Stage(nn.Module):
    """A transition and its blocks: features of the level above to the places and features here."""

    def __init__(self, channels: int, width: int, stride: int, depth: int, share: int) -> None:
        super().__init__()
        self.down = TransitionDown(channels, width, stride)
        self.blocks = nn.ModuleList(Bottleneck(width, share) for _ in range(depth))

    def forward(self, x: Tensor, level: Level) -> tuple[Tensor, Tensor]:
        x = self.down(x, level)
        for block in self.blocks:
            x = block(x, level)
        return level.handed_out(level.xyz), level.handed_out(x)


class Up(nn.Module):
    """The way back: a level's own features and, interpolated, those of the level below, each after
    a layer; at the deepest level the mean of the cloud stands in for what lies below."""

    def __init__(self, width: int, below: int, depth: int, share: int) -> None:
        super().__init__()
        self.own = PointLayer(width if below else 2 * width, width, slope=0.0, bias=True)
        self.deeper = (
            PointLayer(below, width, slope=0.0, bias=True) if below else nn.Linear(width, width)
        )
        self.blocks = nn.ModuleList(Bottleneck(width, share) for _ in range(depth))

    def forward(
        self, x: Tensor, level: Level, deeper: Tensor | None = None, below: Level | None = None
    ) -> Tensor:
        if deeper is None or below is None:
            mean = F.relu(self.deeper(per_cloud(x, level.sizes, "mean")))
            x = self.own(torch.cat((x, per_point(mean, level.sizes)), dim=1))
        else:
            x = self.own(x) + carried(self.deeper(deeper), below, level)
        for block in self.blocks:
            x = block(x, level)
        return level.handed_out(x)


class PackedPointTransformer(nn.Module):
    """The Point Transformer for scenes; clouds may differ in size.

    Zhao et al. 2021 (arXiv 2012.09164), in the form of its first author's code
    (POSTECH-CVLab/point-transformer).

    Args:
        k: neighbours of a point, itself included; ``first_k`` at the first stage.
        widths: channels of the stages.
        depths: blocks of each stage, after its transition.
        strides: of how many points a stage keeps one, 1 at a stage that keeps all.
        share: channels that have a weight of the attention in common.
        in_channels: 3 for coordinates, 6 with normals or colours.
        decoder: carry the features back up to all points, with ``up_depth`` blocks a stage.
        start: of the farthest points, ``"far"`` or ``"first"``; see
            :func:`pointssl.ops.sampling.farthest_points`.

    ``forward(xyz (B, N, 3), feats (B, N, in_channels - 3))`` or, of packed clouds, ``forward(xyz
    (T, 3), feats (T, in_channels - 3), offsets (B,))``; see :mod:`pointssl.ops.packed`. Gives the
    mean over the deepest points as cloud feature ``(B, D)``, and as point features ``(B, N, C)`` or
    ``(T, C)`` those of all stages, interpolated and side by side; with the decoder its output,
    whose maximum then stands behind the mean. At a stage where a cloud has fewer than ``k`` points
    the nearest, the point itself, fills up. Raises UserError if a cloud has fewer than ``k``
    points to begin with.
    """

    packed = True

    def __init__(
        self,
        k: int = 16,
        first_k: int = 8,
        widths: Sequence[int] = (32, 64, 128, 256, 512),
        depths: Sequence[int] = (1, 2, 3, 5, 2),
        strides: Sequence[int] = (1, 4, 4, 4, 4),
        share: int = 8,
        in_channels: int = 3,
        decoder: bool = False,
        up_depth: int = 1,
        start: str = "far",
    ) -> None:
        super().__init__()
        _check_stages(widths, depths, strides, share)
        self.neighbours = [first_k, *[k] * (len(widths) - 1)]
        self.k = k
        self.strides = list(strides)
        self.in_channels = in_channels
        check_start(start)
        self.start = start
        self.stages = nn.ModuleList(
            Stage(before, after, stride, depth, share)
            for before, after, stride, depth in zip(
                [in_channels, *widths], widths, strides, depths, strict=False
            )
        )
        self.layers = tuple(f"stages.{stage}" for stage in range(len(widths)))
        self.cloud_dim, self.point_dim = widths[-1], sum(widths)
        self.ups = nn.ModuleList()
        if decoder:
            upward = list(widths)[::-1]
            self.ups.extend(
                Up(width, below, up_depth, share)
                for width, below in zip(upward, [0, *upward], strict=False)
            )
            self.layers += tuple(f"ups.{stage}" for stage in range(len(widths)))
            self.cloud_dim, self.point_dim = widths[-1] + widths[0], widths[0]

    def forward(
        self, xyz: Tensor, feats: Tensor | None = None, offsets: Tensor | None = None
    ) -> Features:
        x, shape, sizes = self._rows_of_all(xyz, feats, offsets)
        require_enough(min(sizes), max(self.neighbours))
        rows = xyz.reshape(len(x), 3)
        all_levels = levels(rows, sizes, shape, self.strides, self.neighbours, self.start)
        found = []
        for stage, level in zip(self.stages, all_levels, strict=True):
            x = stage(x, level)[1].reshape(len(level.xyz), -1)
            found.append(x)
        top, deepest = all_levels[0], all_levels[-1]
        cloud = per_cloud(x, deepest.sizes, "mean")
        if not self.ups:
            points = [carried(x, level, top) for x, level in zip(found, all_levels, strict=True)]
            return Features(cloud, top.handed_out(torch.cat(points, dim=1)))
        below = None
        for up, level, own in zip(self.ups, all_levels[::-1], found[::-1], strict=True):
            x = up(own, level, *below) if below else up(own, level)
            x = x.reshape(len(level.xyz), -1)
            below = x, level
        cloud = torch.cat((cloud, per_cloud(x, top.sizes, "max")), dim=1)
        return Features(cloud, top.handed_out(x))

    def _rows_of_all(
        self, xyz: Tensor, feats: Tensor | None, offsets: Tensor | None
    ) -> tuple[Tensor, tuple[int, ...], list[int]]:
        """The input of all points ``(T, in_channels)``, the shape it came in, and the sizes."""
        if offsets is None:
            x = with_feats(xyz, feats, self.in_channels)
            clouds, points = x.shape[:2]
            return x.flatten(0, 1), (clouds, points), [points] * clouds
        if xyz.dim() != 2:
            raise UserError(f"packed clouds are (T, 3), got {tuple(xyz.shape)}")
        if feats is not None and feats.shape[:-1] != xyz.shape[:-1]:
            raise UserError(f"feats: expected ({len(xyz)}, channels), got {tuple(feats.shape)}")
        sizes = sizes_of(offsets, len(xyz))
        x = with_feats(xyz[None], None if feats is None else feats[None], self.in_channels)
        return x[0], (len(xyz),), sizes


def carried(x: Tensor, level: Level, target: Level) -> Tensor:
    """Features of one level at the points of another."""
    if level is target:
        return x
    return packed_interpolate(x, level.xyz, level.sizes, target.xyz, target.sizes)


def _check_stages(
    widths: Sequence[int], depths: Sequence[int], strides: Sequence[int], share: int
) -> None:
    if not len(widths) == len(depths) == len(strides):
        raise UsageError(
            f"widths, depths and strides have {len(widths)}, {len(depths)} and {len(strides)} "
            "entries: expected one of each for every stage"
        )
    uneven = [width for width in widths if width % share]
    if uneven:
        raise UsageError(f"widths {list(widths)}: {uneven[0]} is not a multiple of share = {share}")
