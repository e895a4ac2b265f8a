"""Augmentation of a whole batch at once, on its device, from a given generator.

Every random number is drawn for the global batch and a rank takes its rows, so that the same seed
augments the same cloud the same way on any number of processes.
"""

import math

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from pointssl_datasets.base.errors import UsageError


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
    xyz: Tensor, normals: Tensor | None, draw: Draw, rotate: str = "up"
) -> tuple[Tensor, Tensor | None]:
    """One augmented view of each cloud, as CrossPoint makes it (arXiv 2203.00680, its code).

    Unit sphere; scale by U(0.5, 2); turn about y by U(0, 2 pi); shift by U(-0.5, 0.5) of the
    extent; jitter by N(0, 0.01) clipped at 0.05; replace a U(0, 0.875) share of the points by the
    first.

    Args:
        xyz: ``(B, N, 3)``.
        normals: ``(B, N, 3)``, turned and dropped along, or None.
        rotate: ``up``, ``so3`` (any rotation) or ``none``.
    """
    clouds, points, _ = xyz.shape
    xyz = unit_sphere(xyz) * draw.uniform(0.5, 2.0, 1, 1)
    xyz, normals = rotated(xyz, normals, draw, rotate)
    extent = xyz.amax(dim=1, keepdim=True) - xyz.amin(dim=1, keepdim=True)
    xyz = xyz + draw.uniform(-0.5, 0.5, 1, 3) * extent
    xyz = xyz + (0.01 * draw.normal(points, 3)).clamp(-0.05, 0.05)
    kept = drop_points(xyz, draw.uniform(0, 0.875, 1), draw.uniform(0, 1, points))
    kept = kept[..., None].expand(clouds, points, 3)
    return xyz.gather(1, kept), None if normals is None else normals.gather(1, kept)


def scale_shift(xyz: Tensor, normals: Tensor | None, draw: Draw) -> tuple[Tensor, Tensor | None]:
    """Scale every axis by U(2/3, 3/2) and shift it by U(-0.2, 0.2), as DGCNN and Point-MAE
    fine-tune.

    Args:
        xyz: ``(B, N, 3)``.
        normals: ``(B, N, 3)`` unit vectors, which a scaled surface turns, or None.
    """
    scale = draw.uniform(2 / 3, 3 / 2, 1, 3).to(xyz.dtype)
    xyz = xyz * scale + draw.uniform(-0.2, 0.2, 1, 3).to(xyz.dtype)
    return xyz, None if normals is None else F.normalize(normals / scale, dim=-1)


def rotated(
    xyz: Tensor, normals: Tensor | None, draw: Draw, rotate: str
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


def two_views(
    batch: dict[str, Tensor],
    generator: Generator,
    *,
    rank: int = 0,
    ranks: int = 1,
    augment: str = "crosspoint",
    rotate: str = "up",
    image_augment: str | None = None,
) -> dict[str, Tensor]:
    """What a cross-modal method takes: two views of each cloud, and its picture in [0, 1].

    Args:
        batch: ``xyz (B, N, 3)``, and where the data have them ``feats (B, N, 3)`` and
            ``image (B, 3, H, W) uint8``, or ``image_feature (B, D)`` in its place.
        rank, ranks: which rows of the global batch these are.
        augment: ``crosspoint``, or ``none`` for the clouds as they are.
        image_augment: the same of the pictures; None: as ``augment``.

    Returns:
        ``xyz1, xyz2 (B, N, 3)``, ``feats1, feats2``, ``image (B, 3, H, W) float32`` or
        ``image_feature``, ``index``.
    """
    image_augment = image_augment or augment
    for flag, value in (("--augment", augment), ("--image-augment", image_augment)):
        if value not in ("crosspoint", "none"):
            raise UsageError(f"{flag} {value!r}: choose crosspoint or none")
    count = len(batch["xyz"])
    draw = Draw(generator, count * ranks, slice(rank * count, (rank + 1) * count))
    views = {"index": batch["index"]}
    for number in ("1", "2"):
        xyz, feats = batch["xyz"], batch.get("feats")
        if augment == "crosspoint":
            xyz, feats = crosspoint_view(xyz, feats, draw, rotate)
        views["xyz" + number] = xyz
        if feats is not None:
            views["feats" + number] = feats
    if "image" in batch:
        image = batch["image"].float() / 255
        views["image"] = image_view(image, draw) if image_augment == "crosspoint" else image
    if "image_feature" in batch:
        views["image_feature"] = batch["image_feature"]
    return views


def one_view(
    batch: dict[str, Tensor],
    generator: Generator,
    *,
    rank: int = 0,
    ranks: int = 1,
    augment: str = "none",
    rotate: str = "none",
) -> dict[str, Tensor]:
    """What a supervised task takes: the batch with its clouds turned, scaled and shifted.

    Args:
        batch: ``xyz (B, N, 3)``, where the data have them ``feats (B, N, 3)`` normals, and
            whatever else belongs to it.
        rank, ranks: which rows of the global batch these are.
        augment: ``scale-shift`` (see :func:`scale_shift`) or ``none``.
        rotate: ``up``, ``so3`` or ``none``.
    """
    if augment not in ("scale-shift", "none"):
        raise UsageError(f"--augment {augment!r}: choose scale-shift or none")
    count = len(batch["xyz"])
    draw = Draw(generator, count * ranks, slice(rank * count, (rank + 1) * count))
    xyz, feats = rotated(batch["xyz"], batch.get("feats"), draw, rotate)
    if augment == "scale-shift":
        xyz, feats = scale_shift(xyz, feats, draw)
    return {**batch, "xyz": xyz} | ({} if feats is None else {"feats": feats})
