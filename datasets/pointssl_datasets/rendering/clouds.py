"""Renders point clouds without a graphics card, by elliptical surfels and a z-buffer."""

from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pointssl_datasets.base.axes import TO_Y_UP
from pointssl_datasets.base.errors import DataError
from pointssl_datasets.files.meshes import read_mesh
from pointssl_datasets.rendering import loops
from pointssl_datasets.rendering.cameras import DISTANCE, FOCAL, Array, cameras, check_size
from pointssl_datasets.rendering.meshes import render_mesh
from pointssl_datasets.rendering.styles import check_style, finished, values
from pointssl_datasets.rendering.surfels import Surfels, surfels

__all__ = ["render_mesh", "render_mesh_file", "render_views", "splat"]

CUTOFF = 1.8  # an ellipse ends at this many standard deviations; a uniform disk would at 2
BLUR = 0.45  # standard deviation in pixels that no ellipse falls below


def render_views(
    xyz: ArrayLike,
    normals: ArrayLike | None = None,
    *,
    views: int,
    size: int,
    seed: int,
    colours: ArrayLike | None = None,
    style: str = "shaded",
    cameras: str = "ring",
) -> NDArray[np.uint8]:
    """Renders a cloud from cameras around it, on a transparent background.

    The cloud is framed first: centred on its mean, its furthest point at distance 1.

    Args:
        xyz: ``(N, 3)`` points, y up, any scale.
        normals: ``(N, 3)`` directions, any length and sign; None: estimated from the neighbours.
        views: number of images.
        size: side of an image in pixels.
        seed: of the cameras. The same arguments give the same bytes.
        colours: ``(N, 3)``, 0-1, drawn in the style ``"shaded"``; None: neutral grey.
        style: ``"shaded"``, ``"depth"``, ``"normals"`` or ``"silhouette"``; see
            :func:`~pointssl_datasets.rendering.styles.finished`.
        cameras: ``"ring"`` or ``"sphere"``; see :func:`~.cameras.cameras`.

    Returns:
        ``(views, size, size, 4)`` RGBA, not premultiplied; alpha 0 where there is no surface.

    Raises:
        DataError: an empty cloud, wrong shapes, values that are not finite, colours beyond 0-1.
        UsageError: ``views`` or ``size`` below 1, an unknown style or kind of cameras.
    """
    check_size(size)
    check_style(style)
    poses = _cameras(views, seed, cameras)
    shape = surfels(xyz, normals, colours)
    return np.stack([splat(shape, pose, size, style)[0] for pose in poses])


_cameras = cameras  # `render_views` has an argument of that name


def render_mesh_file(
    path: Path,
    up_axis: str,
    *,
    views: int,
    size: int,
    seed: int,
    style: str = "shaded",
    cameras: str = "ring",
) -> NDArray[np.uint8]:
    """:func:`render_mesh` for a file in which ``up_axis``, x, y or z, points up.

    Raises:
        DataError: the file can't be read, or has no surface.
        UsageError: as :func:`render_mesh`.
    """
    vertices, faces = read_mesh(path)
    how = {"views": views, "size": size, "seed": seed, "style": style, "cameras": cameras}
    try:
        return render_mesh(vertices @ TO_Y_UP[up_axis].T, faces, **how)  # type: ignore[arg-type]
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def splat(
    shape: Surfels, camera: Array, size: int, style: str = "shaded"
) -> tuple[NDArray[np.uint8], Array]:
    """Renders one image: ``(size, size, 4)`` RGBA, and depth ``(size, size)``.

    Depth is measured along the camera's axis, and infinite where there is no surface. Pixel
    centres are at integer + 0.5.
    """
    ellipses, shades, sheet = _project(shape, camera, size, style)
    cover, inverse, blended = loops.splat(ellipses, shades, sheet, size)
    # Weights fall to zero at the border of an ellipse, which makes a soft outline.
    alpha = 255 * np.minimum(1.0, 3 * cover)
    depth = np.full((size, size), np.inf)
    np.divide(1.0, inverse, out=depth, where=alpha >= 1)
    return finished(style, np.moveaxis(blended, 0, -1), depth, alpha), depth


def _project(shape: Surfels, camera: Array, size: int, style: str) -> tuple[Array, Array, float]:
    """Projects every surfel to an ellipse in the image: the arguments of ``loops.splat``."""
    turn = camera[:, :3]
    centre = shape.centre @ turn.T + camera[:, 3]
    covariance, plane, normal, colour = shape.covariance, shape.plane, shape.normal, shape.colour
    visible = centre[:, 2] > 0.05 * DISTANCE  # the rest is behind the viewer
    if not visible.all():
        centre, covariance = centre[visible], covariance[visible]
        plane, normal = plane[visible], normal[visible]
        colour = None if colour is None else colour[visible]
    p, q = (centre[:, :2] / centre[:, 2:]).T
    depth = centre[:, 2]
    focal = FOCAL * size

    # The covariance in camera axes, then in the image: the perspective, linear at the centre,
    # takes a step (dx, dy, dz) to focal / depth (dx - p dz, dy - q dz).
    kxx, kxy, kxz, _, kyy, kyz, _, _, kzz = (covariance.reshape(-1, 9) @ np.kron(turn, turn).T).T
    square = (focal / depth) ** 2
    xx = square * (kxx - 2 * p * kxz + p * p * kzz) + BLUR**2
    xy = square * (kxy - p * kyz - q * kxz + p * q * kzz)
    yy = square * (kyy - 2 * q * kyz + q * q * kzz) + BLUR**2
    scale = 1 / (CUTOFF**2 * (xx * yy - xy * xy))

    nx, ny, nz = turn @ plane.T
    along = nx * p + ny * q + nz
    along = np.where(np.abs(along) < 1e-6, 1e-6, along) * depth * focal
    across, down = nx / along, ny / along
    # Seen edge-on that slope has no bound: keep to the ellipse's extent along the line of sight.
    extent = CUTOFF * np.sqrt(np.maximum(kzz, 0.0)) / depth**2
    reach = across * across * xx + 2 * across * down * xy + down * down * yy
    limit = np.minimum(1.0, extent / (CUTOFF * np.sqrt(np.maximum(reach, 1e-24))))

    ellipses = np.empty((len(depth), 10))
    ellipses[:, 0] = focal * p + size / 2 - 0.5
    ellipses[:, 1] = focal * q + size / 2 - 0.5
    ellipses[:, 2] = CUTOFF * np.sqrt(xx)
    ellipses[:, 3] = CUTOFF * np.sqrt(yy)
    ellipses[:, 4] = scale * yy
    ellipses[:, 5] = -2 * scale * xy
    ellipses[:, 6] = scale * xx
    ellipses[:, 7] = 1 / depth
    ellipses[:, 8] = across * limit
    ellipses[:, 9] = down * limit
    shades = np.ascontiguousarray(values(style, normal @ turn.T, centre, colour))
    return ellipses, shades, shape.apart / DISTANCE
