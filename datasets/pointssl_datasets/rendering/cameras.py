"""Shared by both renderers: where the cameras stand, and how a shape is framed."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pointssl_datasets.base.errors import DataError, UsageError

Array = NDArray[np.float64]

# Blender's default lens (35 mm on a 32 mm sensor), as in the ShapeNet renderings of 3D-R2N2
# (Choy et al., ECCV 2016). At this distance the unit sphere just touches the image's border.
FOCAL = 35 / 32  # in image widths
DISTANCE = 2.45  # in radii of the shape
ELEVATION = (10.0, 45.0)  # degrees above the horizon
CAMERAS = ("ring", "sphere")


def cameras(views: int, seed: int, kind: str = "ring") -> Array:
    """World-to-camera matrices ``(views, 3, 4)`` that look at the origin, y up.

    The cameras stand at :data:`DISTANCE` from the origin. In a ``"ring"`` their azimuths are evenly
    spread over the full circle from a random start, their elevations uniform in :data:`ELEVATION`.
    On the ``"sphere"`` they are a spherical Fibonacci lattice (Gonzalez, Mathematical Geosciences
    2010), turned at random. Camera axes are x right, y down, z away from the viewer:
    ``camera[:, :3] @ p + camera[:, 3]``.

    Raises:
        UsageError: fewer than one view, or another kind.
    """
    if views < 1:
        raise UsageError(f"views={views}: a rendering needs at least 1 view")
    if kind not in CAMERAS:
        raise UsageError(f"cameras={kind!r}: choose {' or '.join(CAMERAS)}")
    random = np.random.default_rng(seed)
    towards = -(_ring if kind == "ring" else _sphere)(views, random)
    # From straight above or below, up in the image is -z or z: as if the camera had tilted there.
    pole = np.abs(towards[:, 1:2]) > 1 - 1e-9
    up = np.where(pole, [0.0, 0.0, 1.0] * np.sign(towards[:, 1:2]), [0.0, 1.0, 0.0])
    right = np.cross(towards, up)
    right /= np.linalg.norm(right, axis=1, keepdims=True)
    turn = np.stack([right, np.cross(towards, right), towards], axis=1)
    shift = np.broadcast_to([0.0, 0.0, DISTANCE], (views, 3))
    return np.concatenate([turn, shift[:, :, None]], axis=2)


def _ring(views: int, random: np.random.Generator) -> Array:
    """Directions ``(views, 3)`` from the origin to the cameras."""
    azimuth = random.uniform(0, 2 * np.pi) + 2 * np.pi * np.arange(views) / views
    elevation = np.radians(random.uniform(*ELEVATION, size=views))
    return np.stack(
        [
            np.cos(elevation) * np.sin(azimuth),
            np.sin(elevation),
            np.cos(elevation) * np.cos(azimuth),
        ],
        axis=1,
    )


def _sphere(views: int, random: np.random.Generator) -> Array:
    """Directions ``(views, 3)``; the turn is uniform over all rotations and reflections."""
    index = np.arange(views)
    height = 1 - (2 * index + 1) / views
    azimuth = np.pi * (3 - np.sqrt(5)) * index
    radius = np.sqrt(1 - height**2)
    lattice = np.stack([radius * np.sin(azimuth), height, radius * np.cos(azimuth)], axis=1)
    turn, triangle = np.linalg.qr(random.normal(size=(3, 3)))
    return np.asarray(lattice @ (turn * np.sign(np.diag(triangle))).T)


def projections(poses: Array, scale: float = 1.0, shift: ArrayLike = 0.0) -> Array:
    """Projection matrices ``(V, 3, 4)`` of cameras that see ``scale * p + shift`` for each point p.

    With ``(a, b, depth) = matrix @ (x, y, z, 1)`` the point lies at ``a / depth`` to the right and
    ``b / depth`` down in the image, 0 and 1 at its borders; ``depth`` is the distance along the
    camera's axis in the unit of the point, i.e. in cloud units however the renderer scales the
    cloud. The matrix is ``K [R | t]``: R turns to the camera's axes (x right, y down, z away from
    the viewer), K has the focal length :data:`FOCAL` and the centre (0.5, 0.5), in image widths.

    Args:
        poses: ``(V, 3, 4)`` world to camera, see :func:`cameras`.
        scale, shift: how the renderer places the cloud in that world.
    """
    lens = np.array([[FOCAL, 0, 0.5], [0, FOCAL, 0.5], [0, 0, 1]])
    turn = poses[:, :, :3]
    away = (poses[:, :, 3] + turn @ np.broadcast_to(np.asarray(shift, np.float64), 3)) / scale
    return np.asarray(lens @ np.concatenate([turn, away[:, :, None]], axis=2))


def placement(points: ArrayLike, placed: ArrayLike) -> tuple[float, Array, float]:
    """``scale`` and ``shift (3,)`` that take ``points`` to ``placed``, both ``(N, 3)``, in order.

    Least squares over a uniform scale and a shift, without a turn.

    Returns:
        scale, shift, and the largest distance that remains.
    """
    start, end = np.asarray(points, np.float64), np.asarray(placed, np.float64)
    start_mean, end_mean = start.mean(axis=0), end.mean(axis=0)
    centred = start - start_mean
    square = float((centred * centred).sum())
    scale = float((centred * (end - end_mean)).sum()) / square if square > 0 else 1.0
    shift = end_mean - scale * start_mean
    return scale, shift, float(np.linalg.norm(scale * start + shift - end, axis=1).max())


def checked(values: ArrayLike, what: str, rows: int | None = None) -> Array:
    """``values`` as float64 ``(rows, 3)``, finite and not empty.

    Raises:
        DataError: anything else.
    """
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError(f"{what}: expected numbers of shape (N, 3)") from None
    if array.ndim != 2 or array.shape[1] != 3 or array.shape[0] == 0:
        raise DataError(f"{what}: expected shape (N, 3) with N > 0, got {array.shape}")
    if rows is not None and len(array) != rows:
        raise DataError(f"{what}: expected {rows}, one for each point, got {len(array)}")
    if not np.isfinite(array).all():
        bad = int((~np.isfinite(array)).any(axis=1).sum())
        raise DataError(f"{what}: {bad} of {len(array)} rows are NaN or infinite; clean the shape")
    return array


def check_size(size: int) -> None:
    """Raises UsageError for an image without pixels."""
    if size < 1:
        raise UsageError(f"size={size}: an image needs a side of at least 1 pixel")


def unit_box(xyz: Array) -> Array:
    """``xyz`` in a box of side 1 about the origin: its squares neither overflow nor vanish."""
    half = xyz / 2  # the difference of two huge numbers may be infinite, that of their halves not
    low, high = half.min(axis=0), half.max(axis=0)
    extent = float((high - low).max())
    moved = half - (low / 2 + high / 2)
    return moved / extent if extent > 0 else np.zeros_like(xyz)


def framed(xyz: Array, centre: Array) -> Array:
    """``xyz`` with ``centre`` at the origin, and its furthest point at distance 1 from there."""
    moved = xyz - centre
    radius = float(np.linalg.norm(moved, axis=1).max())
    return moved / radius if radius > 0 else moved


def framed_cloud(xyz: Array) -> Array:
    """A cloud ``(N, 3)`` as it is rendered: its mean at the origin, its furthest point at 1."""
    boxed = unit_box(xyz)
    return framed(boxed, boxed.mean(axis=0))
