"""Where the points of a cloud lie in an image of it, and which of them the camera sees.

A camera is a projection matrix ``(3, 4)``, as a batch holds it for images that were rendered:
``(a, b, depth) = camera @ (x, y, z, 1)``, and the point lies at ``(a / depth, b / depth)``. See
:func:`pointssl_datasets.rendering.cameras.projections` for the convention.

It belongs to the cloud as the dataset serves it. Before augmentation turns or shifts the points,
project them; what is known of point i then holds for point i of the augmented view, or of the point
that it was replaced by. A view that keeps the order of its points needs nothing else.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

# Of the depth map of `visible`; chosen by agreement with ray casting of meshes, see there.
REACH = 3  # cells that a point covers to each side; together as wide as the points are apart
SLOPE = 4.0  # by how much deeper a point lets others be, per distance to its side
CELLS = 8.0  # cells along a side at most, per square root of the number of points
PROBES, NEIGHBOURS = 32, 8  # points, and neighbours of each, that the spacing is measured at


class Pose(NamedTuple):
    """A camera taken apart.

    Attributes:
        position: ``(B, 3)``, where it stands, in the coordinates of the cloud.
        rotation: ``(B, 3, 3)``; its rows are the camera's axes in the coordinates of the cloud:
            to the right, down, and away from the viewer.
        focal: ``(B,)``, focal length in image widths.
    """

    position: Tensor
    rotation: Tensor
    focal: Tensor


def pose(camera: Tensor) -> Pose:
    """The pose of each ``camera (B, 3, 4)``: without skew, and with one focal length."""
    lens, shift = camera[..., :3], camera[..., 3]
    away = lens[:, 2:]
    centre = (lens[:, :2] * away).sum(dim=-1, keepdim=True)  # where its axis meets the image
    right_down = lens[:, :2] - centre * away
    focal = right_down[:, 0].norm(dim=-1)
    rotation = torch.cat((right_down / focal[:, None, None], away), dim=1)
    position = -torch.linalg.solve(lens, shift)
    return Pose(position, rotation, focal)


def project(xyz: Tensor, camera: Tensor) -> tuple[Tensor, Tensor]:
    """Projects the points of each cloud into its image.

    Args:
        xyz: ``(B, N, 3)``, as the dataset serves it.
        camera: ``(B, 3, 4)``.

    Returns:
        ``pixels (B, N, 2)``, the place across and down in the image: 0 at the left or upper border,
        1 at the right or lower one, so the column of pixels is ``floor(width * pixels[..., 0])``.
        What lies outside the image is below 0 or above 1; behind the camera it is infinite.

        ``depth (B, N)``, the distance from the camera along its axis, in the unit of ``xyz``.
    """
    # Not a matrix product, which reduced precision would round.
    place = (xyz[:, :, None] * camera[:, None, :, :3]).sum(dim=-1) + camera[:, None, :, 3]
    depth = place[..., 2]
    front = (depth > 0)[..., None]
    pixels = place[..., :2] / torch.where(front, depth[..., None], 1)
    return torch.where(front, pixels, torch.inf), depth


def token_of(pixels: Tensor, grid: tuple[int, int]) -> Tensor:
    """``(B, N)`` int64: the cell of ``grid``, (rows, columns), that each point lies in; -1 outside.

    Cells are counted row by row, as the tokens of an image encoder are.

    Args:
        pixels: ``(B, N, 2)`` of :func:`project`.
    """
    rows, columns = grid
    inside = ((pixels >= 0) & (pixels < 1)).all(dim=-1)
    across, down = torch.where(inside[..., None], pixels, 0).unbind(-1)
    # Just below 1 a product may be rounded up to the number of cells.
    column = (across * columns).long().clamp(max=columns - 1)
    row = (down * rows).long().clamp(max=rows - 1)
    return torch.where(inside, row * columns + column, -1)


def visible(xyz: Tensor, camera: Tensor, tolerance: float | None = None) -> Tensor:
    """Which points the camera sees, as far as the points themselves tell: ``(B, N)`` bool.

    The points are drawn into a depth map, each as a disk as wide as the points are apart. Away from
    its centre a disk lies deeper, so that a slanted surface does not hide itself. A point is seen
    if it lies in the image and not deeper than the map at its place.

    This is an estimate: the points are a sample of the surface, and a surface that is seen at less
    than about 15 degrees counts as hidden. It agrees with ray casting for 81% of the points at N =
    1024 and 86% at 4096 on meshes of the Princeton Shape Benchmark, many of them thin sheets of
    which half the points are seen, and for 96% on a ball.

    Args:
        xyz: ``(B, N, 3)``, as the dataset serves it.
        camera: ``(B, 3, 4)``.
        tolerance: in the unit of ``xyz``: a point may lie deeper than the map by this much. None:
            0.7 times the distance between neighbouring points.
    """
    clouds, points, _ = xyz.shape
    most = max(1, round(CELLS * points**0.5))
    pixels, depth = project(xyz, camera)
    inside = ((pixels >= 0) & (pixels < 1)).all(dim=-1)
    focal = pose(camera).focal
    apart = spacing(xyz)
    nearest = torch.where(inside, depth, torch.inf).amin(dim=1)
    cells = (REACH * nearest / (focal * apart)).clamp(1, most).floor()  # along a side, (B,)
    scaled = torch.where(inside[..., None], pixels, 0) * cells[:, None, None]
    column, row = torch.minimum(scaled.long(), cells[:, None, None].long() - 1).unbind(-1)
    width = most + 2 * REACH  # a border takes what reaches over the image's
    own = (row + REACH) * width + column + REACH
    front = torch.where(inside, depth, torch.inf)
    deeper = SLOPE * depth / (focal * cells)[:, None]  # per cell to the side
    buffer = depth.new_full((clouds, width * width), torch.inf)
    for down in range(-REACH, REACH + 1):
        for across in range(-REACH, REACH + 1):
            distance = (down * down + across * across) ** 0.5
            if distance <= REACH:
                place = own + down * width + across
                buffer.scatter_reduce_(1, place, front + distance * deeper, "amin")
    spare = 0.7 * apart[:, None] if tolerance is None else tolerance
    return inside & (depth <= buffer.gather(1, own) + spare)


def spacing(xyz: Tensor) -> Tensor:
    """``(B,)``: how far apart neighbouring points typically are on the surface.

    A patch of one square spacing holds one point on average. Some points' distance to their eighth
    neighbour tells: the disk of that radius holds eight.

    Args:
        xyz: ``(B, N, 3)``.
    """
    points = xyz.shape[1]
    probes = torch.arange(PROBES, device=xyz.device) * points // PROBES
    neighbours = max(1, min(NEIGHBOURS, points - 1))
    # Matrix products would lose the digits of small distances.
    mode = "donot_use_mm_for_euclid_dist"
    distance = torch.cdist(xyz[:, probes], xyz, compute_mode=mode)
    radius = distance.topk(min(neighbours + 1, points), dim=-1, largest=False).values[..., -1]
    return radius.median(dim=1).values * (math.pi / neighbours) ** 0.5
