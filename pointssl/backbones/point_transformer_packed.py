"""Point Transformer with bottleneck blocks, for batches of equal clouds or packed clouds."""

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
    """Vector attention ``sum_j a_ij (v_j + p_ij)``.

    ``p_ij`` is an MLP of the relative position; ``a_ij`` is an MLP of ``k_j - q_i + p_ij`` with a
    softmax over the neighbours. Each weight serves ``share`` channels, spaced
    ``channels // share`` apart.
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
    """Residual bottleneck: linear, attention, linear, each with batch norm; keeps ``(T, C)``."""

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
    """Downsample: one layer on the edges ``[x_j - x_i ; f_j]`` from each kept point to its
    neighbours in the previous level, then the maximum. With stride 1, one layer on every point."""

    def __init__(self, channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        channels += 3 if stride > 1 else 0
        self.linear = nn.Linear(channels, out_channels, bias=False)
        self.norm = nn.BatchNorm1d(out_channels)

    def forward(self, x: Tensor, level: Level) -> Tensor:
        if level.above is None:
            return norm_act(self.linear(x), self.norm, 0.0)
        idx, apart = level.above
        offset_weight, point_weight = self.linear.weight.split([3, x.shape[1]], dim=1)
        # The features' part of the product is computed once per point, not once per edge.
        edges = F.linear(apart, offset_weight) + rows_of(F.linear(x, point_weight), idx)
        return F.relu(self.norm(edges.flatten(0, 1)).view_as(edges).amax(dim=1))


class Stage(nn.Module):
    """A transition and its blocks; maps the previous level's features to this level's places and
    features."""

    def __init__(self, channels: int, width: int, stride: int, depth: int, share: int) -> None:
        super().__init__()
        self.down = TransitionDown(channels, width, stride)
        self.blocks = nn.ModuleList(Bottleneck(width, share) for _ in range(depth))

    def forward(self, x: Tensor, level: Level) -> tuple[Tensor, Tensor]:
        x = self.down(x, level)
        for block in self.blocks:
            x = block(x, level)
        return level.unflatten(level.xyz), level.unflatten(x)


class Up(nn.Module):
    """Upsample: add a level's own features and those interpolated from the next deeper level, with
    a layer on each. The deepest level uses the cloud's mean instead."""

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
            x = self.own(x) + interpolate_level(self.deeper(deeper), below, level)
        for block in self.blocks:
            x = block(x, level)
        return level.unflatten(x)


class PackedPointTransformer(nn.Module):
    """The Point Transformer for scenes; clouds may differ in size.

    Zhao et al. 2021 (arXiv 2012.09164), in the form of the first author's code
    (POSTECH-CVLab/point-transformer).

    Args:
        k: neighbours per point, including the point itself; ``first_k`` at the first stage.
        widths: channels of the stages.
        depths: blocks of each stage, after its transition.
        strides: downsampling factor of each stage; 1 keeps all points.
        share: number of channels that share an attention weight.
        in_channels: 3 for coordinates, 6 with normals or colours.
        decoder: upsample the features to all points, with ``up_depth`` blocks per stage.
        start: start of the farthest point sampling, ``"far"`` or ``"first"``; see
            :func:`pointssl.ops.sampling.farthest_points`.

    ``forward(xyz (B, N, 3), feats (B, N, in_channels - 3))`` or, for packed clouds, ``forward(xyz
    (T, 3), feats (T, in_channels - 3), offsets (B,))``; see :mod:`pointssl.ops.packed`. Without a
    decoder, the cloud feature ``(B, D)`` is the mean over the deepest points, and the point
    features, ``(B, N, C)`` or ``(T, C)``, concatenate those of all stages, interpolated to all
    points. With a decoder, the point features are its output, and its maximum is appended to the
    cloud feature. Where a stage leaves a cloud fewer than ``k`` points, the nearest neighbour, the
    point itself, is repeated. Raises UserError if an input cloud has fewer than ``k`` points.
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
        x, shape, sizes = self._flatten_input(xyz, feats, offsets)
        require_enough(min(sizes), max(self.neighbours))
        rows = xyz.reshape(len(x), 3)
        all_levels = levels(rows, sizes, shape, self.strides, self.neighbours, self.start)
        outputs = []
        for stage, level in zip(self.stages, all_levels, strict=True):
            x = stage(x, level)[1].reshape(len(level.xyz), -1)
            outputs.append(x)
        top, deepest = all_levels[0], all_levels[-1]
        cloud = per_cloud(x, deepest.sizes, "mean")
        if not self.ups:
            stages = zip(outputs, all_levels, strict=True)
            points = [interpolate_level(x, level, top) for x, level in stages]
            return Features(cloud, top.unflatten(torch.cat(points, dim=1)))
        below = None
        for up, level, own in zip(self.ups, all_levels[::-1], outputs[::-1], strict=True):
            x = up(own, level, *below) if below else up(own, level)
            x = x.reshape(len(level.xyz), -1)
            below = x, level
        cloud = torch.cat((cloud, per_cloud(x, top.sizes, "max")), dim=1)
        return Features(cloud, top.unflatten(x))

    def _flatten_input(
        self, xyz: Tensor, feats: Tensor | None, offsets: Tensor | None
    ) -> tuple[Tensor, tuple[int, ...], list[int]]:
        """Return all points ``(T, in_channels)``, the original shape, and each cloud's size."""
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


def interpolate_level(x: Tensor, level: Level, target: Level) -> Tensor:
    """Interpolate the features of one level to the points of another."""
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
