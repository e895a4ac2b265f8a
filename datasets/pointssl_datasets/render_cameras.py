"""What both renderers share: cameras, framing, light, and the pixels inside many small boxes."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pointssl_datasets.errors import DataError, UsageError

Array = NDArray[np.float64]

# Blender's default lens (35 mm on a 32 mm sensor), as in the ShapeNet renderings of 3D-R2N2
# (Choy et al., ECCV 2016). At this distance the unit sphere just touches the picture's border.
FOCAL = 35 / 32  # in picture widths
DISTANCE = 2.45  # in radii of the shape
ELEVATION = (10.0, 45.0)  # degrees above the horizon

# In camera axes (x right, y down, z away), so that the light moves with the camera: a key light
# over the left shoulder and a weaker headlight; the rest is ambient.
KEY, HEAD, AMBIENT = 0.52, 0.25, 0.23
KEY_DIRECTION = np.array([-0.45, -0.75, -0.50]) / np.linalg.norm([-0.45, -0.75, -0.50])
WRAP = 0.4  # how far the key light reaches round, as a share of the half turn
GREY = 205.0  # of the neutral material, 0-255


def cameras(views: int, seed: int) -> Array:
    """World-to-camera matrices ``(views, 3, 4)`` that look at the origin, y up.

    The cameras stand at :data:`DISTANCE` from the origin. Their azimuths are evenly spread over the
    full circle from a random start, their elevations uniform in :data:`ELEVATION`. Camera axes are
    x right, y down, z away from the viewer: ``camera[:, :3] @ p + camera[:, 3]``.

    Raises:
        UsageError: fewer than one view.
    """
    if views < 1:
        raise UsageError(f"views={views}: a rendering needs at least 1 view")
    random = np.random.default_rng(seed)
    azimuth = random.uniform(0, 2 * np.pi) + 2 * np.pi * np.arange(views) / views
    elevation = np.radians(random.uniform(*ELEVATION, size=views))
    towards = -np.stack(
        [
            np.cos(elevation) * np.sin(azimuth),
            np.sin(elevation),
            np.cos(elevation) * np.cos(azimuth),
        ],
        axis=1,
    )
    right = np.cross(towards, [0.0, 1.0, 0.0])
    right /= np.linalg.norm(right, axis=1, keepdims=True)
    turn = np.stack([right, np.cross(towards, right), towards], axis=1)
    shift = np.broadcast_to([0.0, 0.0, DISTANCE], (views, 3))
    return np.concatenate([turn, shift[:, :, None]], axis=2)


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
    """Raises UsageError for a picture without pixels."""
    if size < 1:
        raise UsageError(f"size={size}: a picture needs a side of at least 1 pixel")


def framed(xyz: Array, centre: Array) -> Array:
    """``xyz`` moved and scaled so that its furthest point is at distance 1 from the origin."""
    moved = xyz - centre
    radius = float(np.linalg.norm(moved, axis=1).max())
    return moved / radius if radius > 0 else moved


def lit(normals: Array, towards: Array) -> Array:
    """Brightness in 0-1 of surfaces with unit ``normals``, seen along ``towards``, both ``(M, 3)``.

    Lambert's law, wrapped a little, and on both sides: a normal that points away from the viewer is
    turned round, because the normals of real meshes and clouds have no reliable sign. Near the
    outline, where noise decides which side is seen, the two sides fade into each other.
    """
    facing = -(normals * towards).sum(axis=1) / np.linalg.norm(towards, axis=1)
    side = np.clip(facing / 0.25, -1.0, 1.0)
    key = np.maximum(0.0, (side * (normals @ KEY_DIRECTION) + WRAP) / (1 + WRAP))
    return AMBIENT + KEY * key + HEAD * np.abs(facing)


def boxes(
    left: NDArray[Any], right: NDArray[Any], top: NDArray[Any], bottom: NDArray[Any]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Every pixel of M boxes, whose bounds are integers and inclusive.

    Returns ``area (M,)``, ``column (T,)``, ``row (T,)``: the pixels of the first box, then those of
    the second... ``np.repeat(values, area)`` brings a value of each box to its pixels.
    """
    width = np.maximum(right - left + 1, 0)
    lines = np.where(width > 0, np.maximum(bottom - top + 1, 0), 0)
    owner = np.repeat(np.arange(len(lines)), lines)  # first every row of every box, then its pixels
    line = np.arange(len(owner)) - np.repeat(np.cumsum(lines) - lines, lines) + top[owner]
    wide = width[owner]
    start = left[owner] - (np.cumsum(wide) - wide)
    column = np.repeat(start, wide) + np.arange(int(wide.sum()))
    return width * lines, column, np.repeat(line, wide)
