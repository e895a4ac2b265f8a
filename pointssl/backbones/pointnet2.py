"""PointNet++: small PointNets on balls around a shrinking set of centres."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pointssl.backbones.base import Features
from pointssl.backbones.layers import PointLayer, with_feats
from pointssl.backbones.pointnet import point_layers
from pointssl.ops.gather import take_rows
from pointssl.ops.interpolation import interpolate
from pointssl.ops.neighbours import ball, check_order
from pointssl.ops.pooling import max_over_points
from pointssl.ops.sampling import check_start, farthest_points
from pointssl_datasets.base.errors import UsageError


class Ball(nn.Module):
    """Shared layers on the points within a radius, then the maximum.

    The input of a point is its offset from the ball's centre and its features. The first layer is
    applied to points and centres separately, as there are many more pairs of them.
    """

    def __init__(
        self, in_channels: int, channels: Sequence[int], radius: float, k: int, order: str
    ) -> None:
        super().__init__()
        self.first = PointLayer(3 + in_channels, channels[0], slope=0.0, bias=True)
        self.rest = point_layers(*channels)
        self.radius, self.k, self.order = radius, k, order

    def forward(self, xyz: Tensor, x: Tensor, places: Tensor) -> Tensor:
        """Map points ``(B, N, 3)``, ``(B, N, C)`` and centres ``(B, M, 3)`` to ``(B, M, O)``."""
        idx = ball(places, xyz, self.radius, self.k, self.order)
        point_part = self.first.linear(torch.cat((xyz, x), dim=-1))
        centre_part = F.linear(places, self.first.linear.weight[:, :3])
        pairs = self.first.activate(take_rows(point_part, idx) - centre_part[:, :, None])
        pairs = self.rest(pairs)
        return max_over_points(pairs.flatten(0, 1)).view(*pairs.shape[:2], -1)


class SetAbstraction(nn.Module):
    """Balls of one or several radii around farthest points.

    Maps ``xyz (B, N, 3)`` and ``x (B, N, C)`` to the centres ``(B, M, 3)`` and the concatenated
    features of all radii.
    """

    def __init__(self, centres: int, balls: Sequence[Ball], start: str) -> None:
        super().__init__()
        self.centres, self.start = centres, start
        self.balls = nn.ModuleList(balls)

    def forward(self, xyz: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        places = take_rows(xyz, farthest_points(xyz, self.centres, self.start))
        return places, torch.cat([ball(xyz, x, places) for ball in self.balls], dim=-1)


class FeaturePropagation(nn.Module):
    """Upsample: shared layers on fine features concatenated with interpolated coarse ones.

    The first layer runs before the interpolation, which gives the same result: both are linear, and
    the interpolation weights sum to one.
    """

    def __init__(self, fine: int, coarse: int, channels: Sequence[int]) -> None:
        super().__init__()
        self.fine = fine
        self.first = PointLayer(fine + coarse, channels[0], slope=0.0, bias=True)
        self.rest = point_layers(*channels)

    def forward(
        self, xyz: Tensor, x: Tensor, places: Tensor, values: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Map ``x (B, N, fine)`` at ``xyz`` and ``values (B, M, coarse)`` at ``places`` to ``xyz``
        and ``(B, N, O)``."""
        linear = self.first.linear
        fine_weight, coarse_weight = linear.weight[:, : self.fine], linear.weight[:, self.fine :]
        y = interpolate(F.linear(values, coarse_weight, linear.bias), places, xyz)
        if self.fine:
            y = y + F.linear(x, fine_weight)
        return xyz, self.rest(self.first.activate(y))


class PointNet2(nn.Module):
    """Qi et al. 2017, PointNet++ (arXiv 1706.02413), in the form of Pointnet_Pointnet2_pytorch.

    Args:
        embedding: channels of the last layer, which runs on all centres of the last stage.
        hidden: output channels of the layers before the last.
        centres: number of centres of each stage, capped at the stage's number of points.
        radii, neighbours, channels: for each stage and each of its balls, the radius, the maximum
            number of points, and the layers' channels.
        group_all: use the last layers; without them the last stage's maximum is the cloud feature.
        absolute: the first stage gets coordinates as well as offsets, as in segmentation.
        decoder: upsample the features to all points, with layers of ``decoder_channels``, deepest
            first. The maximum over the decoded points is then appended to the cloud feature.
        skip_input: the decoder's last step gets the input channels; the network for scenes does
            not use them.
        in_channels: 3 for coordinates, 6 with normals.
        order: which points fill a ball: the ``"nearest"``, or the ``"first"`` as in public code.
        start: start of the sampling, see :func:`pointssl.ops.sampling.farthest_points`.

    ``forward(xyz (B, N, 3), feats (B, N, in_channels - 3))``. The point features are the decoder's
    output; without a decoder, the input channels concatenated with every stage's features,
    interpolated from the three nearest centres. Clouds of a single point are allowed.
    """

    def __init__(
        self,
        embedding: int = 1024,
        hidden: Sequence[int] = (256, 512),
        centres: Sequence[int] = (512, 128),
        radii: Sequence[Sequence[float]] = ((0.2,), (0.4,)),
        neighbours: Sequence[Sequence[int]] = ((32,), (64,)),
        channels: Sequence[Sequence[Sequence[int]]] = (((64, 64, 128),), ((128, 128, 256),)),
        group_all: bool = True,
        absolute: bool = False,
        decoder: bool = False,
        decoder_channels: Sequence[Sequence[int]] = ((256, 256), (256, 128), (128, 128, 128)),
        skip_input: bool = True,
        in_channels: int = 3,
        order: str = "nearest",
        start: str = "far",
    ) -> None:
        super().__init__()
        _check(centres, radii, neighbours, channels)
        check_order(order)
        check_start(start)
        self.in_channels = in_channels
        self.absolute = absolute
        own = in_channels if absolute else in_channels - 3
        widths = [own, *(sum(layers[-1] for layers in stage) for stage in channels)]
        self.stages = nn.ModuleList(
            SetAbstraction(
                count,
                [
                    Ball(width, layers, radius, k, order)
                    for radius, k, layers in zip(*sizes, strict=True)
                ],
                start,
            )
            for width, count, *sizes in zip(
                widths[:-1], centres, radii, neighbours, channels, strict=True
            )
        )
        self.last = point_layers(3 + widths[-1], *hidden, embedding) if group_all else None
        self.layers = tuple(f"stages.{i}" for i in range(len(centres)))
        self.cloud_dim, self.point_dim = widths[-1], in_channels + sum(widths[1:])
        deepest = widths[-1]
        fine = [in_channels if skip_input else 0, *widths[1:-1]]
        if self.last is not None:
            self.layers += ("last",)
            self.cloud_dim = deepest = embedding
            fine.append(widths[-1])
        self.decoder: nn.ModuleList | None = None
        if decoder:
            if len(decoder_channels) != len(fine):
                raise UsageError(
                    f"decoder_channels {list(decoder_channels)}: expected channels for each of "
                    f"{len(fine)} steps back to the points"
                )
            coarse = [deepest, *(layers[-1] for layers in decoder_channels)]
            self.decoder = nn.ModuleList(
                FeaturePropagation(*step)
                for step in zip(reversed(fine), coarse[:-1], decoder_channels, strict=True)
            )
            self.layers += tuple(f"decoder.{i}" for i in range(len(decoder_channels)))
            self.point_dim = coarse[-1]
            self.cloud_dim += coarse[-1]

    def forward(self, xyz: Tensor, feats: Tensor | None = None) -> Features:
        points = with_feats(xyz, feats, self.in_channels)
        places, x = xyz, points if self.absolute else points[..., 3:]
        passed = [(xyz, points)]
        for stage in self.stages:
            places, x = stage(places, x)
            passed.append((places, x))
        if self.last is not None:
            x = self.last(torch.cat((places, x), dim=-1))
        cloud = max_over_points(x)
        if self.decoder is None:
            carried = [interpolate(x, places, xyz) for places, x in passed[1:]]
            return Features(cloud, torch.cat((points, *carried), dim=-1))
        if self.last is None:
            passed.pop()  # its features are x itself
        else:  # a single centre that every point interpolates from; its position has no effect
            places, x = xyz[:, :1], cloud[:, None]
        for step, (fine, own) in zip(self.decoder, reversed(passed), strict=True):
            places, x = step(fine, own, places, x)
        return Features(torch.cat((cloud, max_over_points(x)), dim=-1), x)


class PointNet2MSG(PointNet2):
    """:class:`PointNet2` with multi-scale grouping: balls of several radii around each centre."""

    def __init__(
        self,
        embedding: int = 1024,
        hidden: Sequence[int] = (256, 512),
        centres: Sequence[int] = (512, 128),
        radii: Sequence[Sequence[float]] = ((0.1, 0.2, 0.4), (0.2, 0.4, 0.8)),
        neighbours: Sequence[Sequence[int]] = ((16, 32, 128), (32, 64, 128)),
        channels: Sequence[Sequence[Sequence[int]]] = (
            ((32, 32, 64), (64, 64, 128), (64, 96, 128)),
            ((64, 64, 128), (128, 128, 256), (128, 128, 256)),
        ),
        group_all: bool = True,
        absolute: bool = False,
        decoder: bool = False,
        decoder_channels: Sequence[Sequence[int]] = ((256, 256), (256, 128), (128, 128)),
        skip_input: bool = True,
        in_channels: int = 3,
        order: str = "nearest",
        start: str = "far",
    ) -> None:
        super().__init__(
            embedding, hidden, centres, radii, neighbours, channels, group_all, absolute, decoder,
            decoder_channels, skip_input, in_channels, order, start,
        )  # fmt: skip


def _check(
    centres: Sequence[int],
    radii: Sequence[Sequence[float]],
    neighbours: Sequence[Sequence[int]],
    channels: Sequence[Sequence[Sequence[int]]],
) -> None:
    """Raise UsageError unless every stage and ball has one entry of each, and radii are above 0."""
    if min(min(stage) for stage in radii) <= 0:
        raise UsageError(f"radii {[list(stage) for stage in radii]}: expected lengths above 0")
    sizes = [[len(stage) for stage in each] for each in (radii, neighbours, channels)]
    if any(counts != sizes[0] or len(counts) != len(centres) for counts in sizes):
        raise UsageError(
            f"{len(centres)} centres, and for the balls of each stage {sizes[0]} radii, {sizes[1]} "
            f"neighbours and {sizes[2]} channels: expected equally many"
        )
