"""Augmentation of a whole batch at once, on its device, from a given generator.

Every random number is drawn for the global batch and a rank takes its rows, so that the same seed
augments the same cloud the same way on any number of processes.

An augmentation of clouds is a function ``(xyz (B, N, 3), normals or None, draw)`` that returns the
augmented pair. Its keyword arguments are its options. To add one, write such a function and name it
in :data:`AUGMENTATIONS`, or pass ``--augment my_package.mine:function``.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

AUGMENTATIONS: dict[str, str] = {
    "crosspoint": "pointssl.augment:crosspoint_view",
    "scale-shift": "pointssl.augment:scale_shift_view",
    "strl": "pointssl.augment:strl_view",
    "none": "pointssl.augment:unchanged_view",
}

View: TypeAlias = tuple[Tensor, Tensor | None]  # coordinates and normals of an augmented cloud
Augmentation: TypeAlias = Callable[[Tensor, Tensor | None, "Draw"], View]
Rotation: TypeAlias = Literal["up", "so3", "none"]


class Draw:
    """Random numbers for ``rows`` of a global batch of ``total`` items."""

    def __init__(self, generator: Generator, total: int, rows: slice) -> None:
        self.generator, self.total, self.rows = generator, total, rows

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """``(rows, *shape)``, uniform on [low, high)."""
        device = self.generator.device
        numbers = torch.rand(self.total, *shape, generator=self.generator, device=device)
        return (numbers * (high - low) + low)[self.rows]

    def normal(self, *shape: int) -> Tensor:
        """``(rows, *shape)``, standard normal."""
        device = self.generator.device
        return torch.randn(self.total, *shape, generator=self.generator, device=device)[self.rows]


def unit_sphere(xyz: Tensor) -> Tensor:
    """Centre each cloud ``(B, N, 3)`` on its mean and scale its farthest point to radius 1."""
    xyz = xyz - xyz.mean(dim=1, keepdim=True)
    radius = xyz.norm(dim=-1).amax(dim=1)[:, None, None]
    return xyz / radius.clamp_min(1e-12)


def up_rotations(angles: Tensor) -> Tensor:
    """Rotations about the up axis y by ``angles`` (B,), radians: ``(B, 3, 3)``."""
    c, s = angles.cos(), angles.sin()
    zero, one = torch.zeros_like(c), torch.ones_like(c)
    return torch.stack((c, zero, s, zero, one, zero, -s, zero, c), dim=-1).view(-1, 3, 3)


def quaternion_rotations(quaternions: Tensor) -> Tensor:
    """``(B, 4)``, any length but zero, to ``(B, 3, 3)``; normal draws give uniform rotations."""
    w, x, y, z = F.normalize(quaternions, dim=-1).unbind(-1)
    rows = (
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    )  # fmt: skip
    return torch.stack(rows, dim=-1).view(-1, 3, 3)


def drop_points(xyz: Tensor, share: Tensor, chance: Tensor) -> Tensor:
    """Where ``chance`` ``(B, N)`` <= ``share`` ``(B, 1)``, the index of the first point instead.

    Returns:
        ``(B, N)`` int64: which point each place holds.
    """
    places = torch.arange(xyz.shape[1], device=xyz.device).expand_as(chance)
    return torch.where(chance <= share, torch.zeros_like(places), places)


def crosspoint_view(
    xyz: Tensor,
    normals: Tensor | None,
    draw: Draw,
    *,
    rotate: Rotation = "up",
    scale: Sequence[float] = (0.5, 2.0),
    shift: float = 0.5,
    jitter: float = 0.01,
    clip: float = 0.05,
    drop: float = 0.875,
) -> View:
    """One augmented view of each cloud, as CrossPoint makes it (arXiv 2203.00680, its code).

    Unit sphere; scale by U(scale); rotate; shift by U(-shift, shift) of the extent; jitter by
    N(0, jitter) clipped at clip; replace a U(0, drop) share of the points by the first.

    Args:
        xyz: ``(B, N, 3)``.
        normals: ``(B, N, 3)``, turned and dropped along, or None.
        rotate: about the axis y by U(0, 2 pi) (``up``), any rotation (``so3``), or ``none``.
    """
    points = xyz.shape[1]
    xyz = unit_sphere(xyz) * draw.uniform(scale[0], scale[1], 1, 1)
    xyz, normals = rotated(xyz, normals, draw, rotate)
    extent = xyz.amax(dim=1, keepdim=True) - xyz.amin(dim=1, keepdim=True)
    xyz = xyz + draw.uniform(-shift, shift, 1, 3) * extent
    xyz = xyz + (jitter * draw.normal(points, 3)).clamp(-clip, clip)
    kept = drop_points(xyz, draw.uniform(0, drop, 1), draw.uniform(0, 1, points))
    return _take(xyz, normals, kept)


def scale_shift_view(
    xyz: Tensor,
    normals: Tensor | None,
    draw: Draw,
    *,
    rotate: Rotation = "none",
    scale: Sequence[float] = (2 / 3, 3 / 2),
    shift: float = 0.2,
) -> View:
    """Rotate, scale every axis by U(scale) and shift it by U(-shift, shift), as DGCNN fine-tunes
    and Point-MAE pretrains (arXiv 2203.06604, its code).

    Args:
        xyz: ``(B, N, 3)``.
        normals: ``(B, N, 3)`` unit vectors, which a scaled surface turns, or None.
        rotate: as in :func:`crosspoint_view`; ReCon and Point-JEPA use ``up`` in place of scaling.
    """
    xyz, normals = rotated(xyz, normals, draw, rotate)
    factor = draw.uniform(scale[0], scale[1], 1, 3).to(xyz.dtype)
    xyz = xyz * factor + draw.uniform(-shift, shift, 1, 3).to(xyz.dtype)
    return xyz, None if normals is None else F.normalize(normals / factor, dim=-1)


def supervised_augmentation(augment: str, rotate: Rotation) -> Augmentation:
    """What fine-tuning does to its clouds: rotation, and ``scale-shift`` unless it is ``none``."""
    if augment == "scale-shift":
        return partial(scale_shift_view, rotate=rotate)
    return partial(rotated, rotate=rotate)


def strl_view(
    xyz: Tensor,
    normals: Tensor | None,
    draw: Draw,
    *,
    crop: Sequence[float] = (0.6, 1.1),
    crop_chance: float = 0.5,
    cutout: Sequence[float] = (0.3, 0.6),
    cutout_chance: float = 0.5,
    scale: Sequence[float] = (0.8, 1.25),
    perturb: float = 0.06,
    shift: float = 0.1,
    jitter: float = 0.01,
    drop: float = 0.875,
) -> View:
    """One augmented view of each cloud, as STRL makes it (Huang et al. 2021, arXiv 2109.00179).

    With ``crop_chance``, crop to a box whose sides are U(crop) of the extent; unit sphere; with
    ``cutout_chance``, remove a box whose sides are U(cutout) of the extent; scale by U(scale);
    rotate by small angles N(0, perturb) about the three axes, clipped at three deviations; shift by
    U(-shift, shift); jitter by N(0, jitter) clipped at 0.05; replace a U(0, drop) share of the
    points by the first. Points that are removed are replaced by others that stay, drawn at random;
    a box is centred on a point of the cloud, and one that would leave fewer than a tenth of the
    points is not applied. There is no full rotation: it is switched off in STRL's code too.

    Args:
        xyz: ``(B, N, 3)``.
        normals: ``(B, N, 3)``, turned and chosen along, or None.
    """
    points = xyz.shape[1]
    inside = _in_box(xyz, draw, crop)
    applied = draw.uniform(0, 1, 1) < crop_chance
    xyz, normals = _keep(xyz, normals, inside | ~applied, draw)
    xyz = unit_sphere(xyz)
    outside = ~_in_box(xyz, draw, cutout)
    applied = draw.uniform(0, 1, 1) < cutout_chance
    xyz, normals = _keep(xyz, normals, outside | ~applied, draw)
    xyz = xyz * draw.uniform(scale[0], scale[1], 1, 1).to(xyz.dtype)
    angles = (perturb * draw.normal(3)).clamp(-3 * perturb, 3 * perturb)
    turn = small_rotations(angles).to(xyz.dtype)
    xyz, normals = xyz @ turn.mT, None if normals is None else normals @ turn.mT
    xyz = xyz + draw.uniform(-shift, shift, 1, 3).to(xyz.dtype)
    xyz = xyz + (jitter * draw.normal(points, 3)).clamp(-0.05, 0.05).to(xyz.dtype)
    kept = drop_points(xyz, draw.uniform(0, drop, 1), draw.uniform(0, 1, points))
    return _take(xyz, normals, kept)


def unchanged_view(xyz: Tensor, normals: Tensor | None, draw: Draw) -> View:
    """The clouds as they are."""
    return xyz, normals


def _in_box(xyz: Tensor, draw: Draw, share: Sequence[float]) -> Tensor:
    """Which points ``(B, N)`` lie in a box about a random point of their cloud, whose sides are
    U(share) of the cloud's extent."""
    points = xyz.shape[1]
    extent = xyz.amax(dim=1, keepdim=True) - xyz.amin(dim=1, keepdim=True)
    sides = extent * draw.uniform(share[0], share[1], 1, 3).to(xyz.dtype)
    middle = (draw.uniform(0, points, 1).long()).clamp(max=points - 1)
    centre = xyz.gather(1, middle[..., None].expand(-1, 1, 3))
    return ((xyz - centre).abs() <= sides / 2).all(dim=-1)


def _keep(xyz: Tensor, normals: Tensor | None, kept: Tensor, draw: Draw) -> View:
    """As many points as before, drawn from those that are ``kept`` ``(B, N)``: each of them once,
    then over again in the same order. Where fewer than a tenth are kept, all are."""
    points = xyz.shape[1]
    chance = draw.uniform(0, 1, points)
    kept = kept | (kept.sum(dim=1, keepdim=True) < max(1, points // 10))
    # Those that are kept first, in random order; whole clouds stay in the order they have.
    order = torch.where(kept, chance, chance + 1).argsort(dim=1)
    places = torch.arange(points, device=xyz.device).expand_as(order)
    count = kept.sum(dim=1, keepdim=True)
    chosen = order.gather(1, places % count)
    return _take(xyz, normals, torch.where(count == points, places, chosen))


def _take(xyz: Tensor, normals: Tensor | None, chosen: Tensor) -> View:
    """The points that ``chosen (B, N)`` numbers, with their normals."""
    index = chosen[..., None].expand_as(xyz)
    return xyz.gather(1, index), None if normals is None else normals.gather(1, index)


def small_rotations(angles: Tensor) -> Tensor:
    """Rotations about x, then y, then z by ``angles`` (B, 3), radians: ``(B, 3, 3)``."""
    turn = torch.eye(3, dtype=angles.dtype, device=angles.device).expand(len(angles), 3, 3)
    for axis in range(3):
        first, second = (axis + 1) % 3, (axis + 2) % 3
        c, s = angles[:, axis].cos(), angles[:, axis].sin()
        about = torch.zeros_like(turn)
        about[:, axis, axis] = 1
        about[:, first, first], about[:, second, second] = c, c
        about[:, second, first], about[:, first, second] = s, -s
        turn = about @ turn
    return turn


def rotated(
    xyz: Tensor, normals: Tensor | None, draw: Draw, rotate: Rotation
) -> tuple[Tensor, Tensor | None]:
    """Turn each cloud at random: about the up axis y (``up``), any way (``so3``), or not
    (``none``)."""
    if rotate == "none":
        return xyz, normals
    if rotate == "up":
        turn = up_rotations(draw.uniform(0, 2 * math.pi))
    else:
        turn = quaternion_rotations(draw.normal(4))
    turn = turn.to(xyz.dtype)
    return xyz @ turn.mT, None if normals is None else normals @ turn.mT


def image_view(images: Tensor, draw: Draw) -> Tensor:
    """Colour jitter 0.4/0.4/0.4 and horizontal flip of ``(B, 3, H, W)`` in [0, 1].

    As CrossPoint's, but with brightness, contrast and saturation always in this order.
    """
    brightness, contrast, saturation, flip = draw.uniform(0, 1, 4).to(images.dtype).unbind(1)
    strength = lambda x: (0.6 + 0.8 * x).view(-1, 1, 1, 1)  # noqa: E731 - 1 +- 0.4
    images = (images * strength(brightness)).clamp(0, 1)
    grey = _grey(images).mean((2, 3), keepdim=True)
    images = torch.lerp(grey, images, strength(contrast)).clamp(0, 1)
    images = torch.lerp(_grey(images), images, strength(saturation)).clamp(0, 1)
    return torch.where((flip < 0.5).view(-1, 1, 1, 1), images.flip(3), images)


def _grey(images: Tensor) -> Tensor:
    red, green, blue = images.split(1, dim=1)
    return 0.299 * red + 0.587 * green + 0.114 * blue  # ITU-R BT.601


def two_views(batch: dict[str, Tensor], draw: Draw, augment: Augmentation) -> dict[str, Tensor]:
    """Two augmented views of each cloud.

    Args:
        batch: ``xyz (B, N, 3)``, where the data have them ``feats (B, N, 3)`` normals, and whatever
            else belongs to it, which is passed on.

    Returns:
        ``xyz1, xyz2 (B, N, 3)`` and ``feats1, feats2`` in place of ``xyz`` and ``feats``.
    """
    views = {name: value for name, value in batch.items() if name not in ("xyz", "feats")}
    for number in ("1", "2"):
        xyz, feats = augment(batch["xyz"], batch.get("feats"), draw)
        views["xyz" + number] = xyz
        if feats is not None:
            views["feats" + number] = feats
    return views


def one_view(batch: dict[str, Tensor], draw: Draw, augment: Augmentation) -> dict[str, Tensor]:
    """The batch with its clouds augmented once: ``xyz (B, N, 3)``, and ``feats`` where there are
    any."""
    xyz, feats = augment(batch["xyz"], batch.get("feats"), draw)
    return {**batch, "xyz": xyz} | ({} if feats is None else {"feats": feats})


def float_images(
    batch: dict[str, Tensor], draw: Draw, augment: Literal["crosspoint", "none"]
) -> dict[str, Tensor]:
    """The batch with ``image (B, 3, H, W)`` uint8 as floats in [0, 1], augmented by
    :func:`image_view` unless ``augment`` is ``none``; a batch without images as it is."""
    if "image" not in batch:
        return batch
    image = batch["image"].float() / 255
    return {**batch, "image": image_view(image, draw) if augment == "crosspoint" else image}


def drawing(batch: dict[str, Tensor], generator: Generator, rank: int, ranks: int) -> Draw:
    """Random numbers for this rank's rows of the global batch, of which every rank has as many."""
    count = len(batch["xyz"])
    return Draw(generator, count * ranks, slice(rank * count, (rank + 1) * count))
