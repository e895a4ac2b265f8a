"""Point Transformer: vector attention among neighbours, with separate weights per channel."""

import math
from collections.abc import Iterable
from itertools import pairwise
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pointssl.backbones.base import Features
from pointssl.backbones.layers import PointLayer, with_feats
from pointssl.ops.exporting import is_exporting
from pointssl.ops.gather import BLOCK, flat_index, rows_of, take_rows
from pointssl.ops.interpolation import interpolate
from pointssl.ops.neighbours import knn, knn_among
from pointssl.ops.norm_act import norm_act
from pointssl.ops.sampling import check_start, farthest_points
from pointssl_datasets.base.errors import UsageError

MAX_BLOCKS = 8  # 4 ** 8 points become one


class VectorAttention(nn.Module):
    """Residual vector attention: ``y_i = x_i + W sum_j a_ij (v_j + p_ij)``.

    ``p_ij`` is an MLP of the relative position. ``a_ij`` is an MLP of ``q_i - k_j + p_ij``, divided
    by the square root of its channels, with a softmax over the neighbours for each channel.

    Inputs: ``x (B, N, C)`` and, for its R = B*N rows, relative positions ``apart (R, K, 3)`` and
    row numbers ``idx (R, K)`` of the neighbours. Output: ``(B, N, C)``.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.into = nn.Linear(channels, width)
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.place = nn.Sequential(
            nn.Linear(3, width), nn.ReLU(inplace=True), nn.Linear(width, width)
        )
        self.weigh = nn.Sequential(
            nn.Linear(width, width), nn.ReLU(inplace=True), nn.Linear(width, width)
        )
        self.back = nn.Linear(width, channels)

    def forward(self, x: Tensor, apart: Tensor, idx: Tensor) -> Tensor:
        rows = self.into(x.flatten(0, 1))
        query, key, value = self.query(rows), self.key(rows), self.value(rows)
        if is_exporting():  # no loop over blocks, so that the graph takes any number of rows
            attended = self._attend(query, key, value, apart, idx)
        else:
            parts = zip(*(t.split(_step(query, idx)) for t in (query, apart, idx)), strict=True)
            attended = torch.cat([self._attend(q, key, value, *near) for q, *near in parts])
        return x + self.back(attended).view_as(x)

    def _attend(
        self, query: Tensor, key: Tensor, value: Tensor, apart: Tensor, idx: Tensor
    ) -> Tensor:
        """Compute ``sum_j a_ij (v_j + p_ij)`` for a block of queries, ``(R, D)``."""
        place = self.place(apart)
        edges = query[:, None] - rows_of(key, idx) + place
        weight = (self.weigh(edges) / math.sqrt(query.shape[1])).softmax(dim=1)
        return (weight * (rows_of(value, idx) + place)).sum(1)


def _step(query: Tensor, idx: Tensor) -> int:
    """Choose a block size whose edges stay in a CPU's cache over three successive products."""
    block = BLOCK // 4 if query.device.type == "cpu" else 128 * BLOCK
    return max(1, block // (idx.shape[1] * query.shape[1]))


class TransitionDown(nn.Module):
    """Downsample to a quarter of the points; each takes the maximum over its neighbours' edges.

    The edges ``[x_j - x_i ; f_j]`` pass through two layers with batch norm. Maps ``(B, N, 3)`` and
    ``(B, N, C)`` to ``(B, N // 4, 3)`` and ``(B, N // 4, O)``.
    """

    def __init__(self, channels: int, out_channels: int, k: int, start: str) -> None:
        super().__init__()
        self.linear1 = nn.Linear(3 + channels, out_channels)
        self.norm1 = nn.BatchNorm1d(out_channels)
        self.linear2 = nn.Linear(out_channels, out_channels)
        self.norm2 = nn.BatchNorm1d(out_channels)
        self.k = k
        self.start = start

    def forward(self, xyz: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        points = xyz.shape[1]
        centres = take_rows(xyz, farthest_points(xyz, max(1, points // 4), self.start))
        idx = knn_among(centres, xyz, min(self.k, points))
        apart = take_rows(xyz, idx) - centres[:, :, None]
        offset_weight, point_weight = self.linear1.weight.split([3, x.shape[-1]], dim=1)
        # The features' part of the product is computed once per point, not once per edge.
        edges = F.linear(apart, offset_weight, self.linear1.bias)
        edges = (edges + take_rows(F.linear(x, point_weight), idx)).flatten(0, 2)
        edges = self.norm2(self.linear2(norm_act(edges, self.norm1, 0.0)))
        best = edges.view(*idx.shape, -1).amax(dim=2)
        return centres, F.relu(best)


class TransitionUp(nn.Module):
    """Upsample: interpolate coarse features to the fine points and add them to the skip features,
    with a layer on each."""

    def __init__(self, coarse: int, fine: int) -> None:
        super().__init__()
        self.coarse = PointLayer(coarse, fine, slope=0.0, bias=True)
        self.fine = PointLayer(fine, fine, slope=0.0, bias=True)

    def forward(self, x: Tensor, places: Tensor, skip: Tensor, xyz: Tensor) -> Tensor:
        """Map ``x (B, M, C)`` at ``places (B, M, 3)`` and ``skip (B, N, O)`` at ``xyz (B, N, 3)``
        to ``(B, N, O)``."""
        return interpolate(self.coarse(x), places, xyz) + self.fine(skip)


class Stage(nn.Module):
    """An optional transition to fewer or more points, and the attention block on those points."""

    transition: Any

    def __init__(self, transition: nn.Module | None, block: VectorAttention) -> None:
        super().__init__()
        self.transition = transition
        self.block = block


class PointTransformer(nn.Module):
    """A hierarchy of attention blocks: each of ``blocks`` transitions keeps a quarter of the points
    and doubles the channels, starting from 32.

    Zhao et al. 2021 (arXiv 2012.09164), in the form of qq456cvb/Point-Transformers.

    Args:
        k: neighbours per point, including the point itself.
        embedding: inner channels of the attention in every block.
        blocks: number of transitions, each followed by an attention block.
        in_channels: 3 for coordinates, 6 with normals.
        decoder: upsample the features to all points with transitions and blocks of its own.
        start: start of the farthest point sampling, ``"far"`` or ``"first"``; see
            :func:`pointssl.ops.sampling.farthest_points`.

    ``forward(xyz (B, N, 3), feats (B, N, in_channels - 3))``. Without a decoder, the cloud feature
    is the mean over the deepest points, and the point features concatenate those of all stages,
    interpolated to all points. With a decoder, the point features are its output, and its maximum
    is appended to the cloud feature. Raises UserError if N < k.
    """

    def __init__(
        self,
        k: int = 16,
        embedding: int = 512,
        blocks: int = 4,
        in_channels: int = 3,
        decoder: bool = False,
        start: str = "far",
    ) -> None:
        super().__init__()
        if blocks > MAX_BLOCKS:
            raise UsageError(
                f"blocks {blocks}: expected at most {MAX_BLOCKS}, as each doubles the width"
            )
        check_start(start)
        self.k = k
        self.in_channels = in_channels
        widths = [32 * 2**stage for stage in range(blocks + 1)]
        self.first = nn.Sequential(
            nn.Linear(in_channels, 32), nn.ReLU(inplace=True), nn.Linear(32, 32)
        )
        downs = [TransitionDown(before, after, k, start) for before, after in pairwise(widths)]
        self.stages = nn.ModuleList(
            Stage(down, VectorAttention(width, embedding))
            for down, width in zip([None, *downs], widths, strict=True)
        )
        self.layers = tuple(f"stages.{stage}.block" for stage in range(blocks + 1))
        self.cloud_dim, self.point_dim = widths[-1], sum(widths)
        self.bottom: nn.Sequential | None = None
        if decoder:
            self.bottom = nn.Sequential(
                nn.Linear(widths[-1], 512), nn.ReLU(inplace=True),
                nn.Linear(512, 512), nn.ReLU(inplace=True), nn.Linear(512, widths[-1]),
            )  # fmt: skip
            upward = widths[::-1]
            ups = [TransitionUp(coarse, fine) for coarse, fine in pairwise(upward)]
            self.up_stages = nn.ModuleList(
                Stage(up, VectorAttention(width, embedding))
                for up, width in zip([None, *ups], upward, strict=True)
            )
            self.layers += tuple(f"up_stages.{stage}.block" for stage in range(blocks + 1))
            self.cloud_dim, self.point_dim = widths[-1] + 32, 32

    def forward(self, xyz: Tensor, feats: Tensor | None = None) -> Features:
        x = self.first(with_feats(xyz, feats, self.in_channels))
        passed = []
        places, near = xyz, _edges(xyz, knn(xyz, self.k))
        for stage in cast(Iterable[Stage], self.stages):
            if stage.transition is not None:
                places, x = stage.transition(places, x)
                near = _edges(places, knn(places, min(self.k, places.shape[1])))
            x = stage.block(x, *near)
            passed.append((places, near, x))
        cloud = x.mean(dim=1)
        if self.bottom is None:
            carried = [interpolate(x, places, xyz) for places, _, x in passed[1:]]
            return Features(cloud, torch.cat((passed[0][2], *carried), dim=-1))
        first, *upward = cast(Iterable[Stage], self.up_stages)
        x = first.block(self.bottom(x), *near)
        for stage, (finer, near, skip) in zip(upward, passed[-2::-1], strict=True):
            x = stage.block(stage.transition(x, places, skip, finer), *near)
            places = finer
        return Features(torch.cat((cloud, x.amax(dim=1)), dim=-1), x)


def _edges(xyz: Tensor, idx: Tensor) -> tuple[Tensor, Tensor]:
    """Return relative positions ``x_i - x_j (B*N, K, 3)`` and row numbers ``(B*N, K)`` of the
    neighbours ``(B, N, K)``."""
    apart = xyz[:, :, None] - take_rows(xyz, idx)
    return apart.flatten(0, 1), flat_index(idx)
