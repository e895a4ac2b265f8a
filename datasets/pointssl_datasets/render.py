"""Pictures of a point cloud without a graphics card: elliptical surfels and a z-buffer, in numpy.

Every point becomes the ellipse that fits its nearest neighbours (their mean and covariance), as in
surface splatting (Zwicker et al., SIGGRAPH 2001). On an open surface that is a disk as wide as the
points are apart; on a border or a rod it gets narrower by itself, so outlines stay crisp.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from pointssl_datasets.render_cameras import (
    DISTANCE,
    FOCAL,
    GREY,
    Array,
    boxes,
    cameras,
    check_size,
    checked,
    framed,
    lit,
)
from pointssl_datasets.render_mesh import render_mesh

__all__ = ["Surfels", "render_mesh", "render_views", "splat", "surfels"]

NEIGHBOURS = 12  # points that an ellipse is fitted to, the point itself included
CUTOFF = 2.2  # an ellipse ends at this many standard deviations; a uniform disk would at 2
WIDEST = 2.0  # no ellipse is wider than this many times the typical one
BAND = 48  # rows of a picture drawn at once: bounds the memory, and fits the cache
BLUR = 0.45  # standard deviation in pixels that no ellipse falls below


@dataclass(frozen=True)
class Surfels:
    """Ellipses in space: means ``(N, 3)``, covariances ``(N, 3, 3)``, normals ``(N, 3)``."""

    centre: Array
    covariance: Array
    plane: Array  # unit normal of the ellipse
    normal: Array  # unit normal for the light
    colour: Array | None  # (N, 3), 0-255


def render_views(
    xyz: ArrayLike,
    normals: ArrayLike | None = None,
    *,
    views: int,
    size: int,
    seed: int,
    colours: ArrayLike | None = None,
) -> NDArray[np.uint8]:
    """Shaded pictures of a cloud from cameras around it, on a transparent background.

    The cloud is framed first: centred on its mean, its furthest point at distance 1.

    Args:
        xyz: ``(N, 3)`` points, y up, any scale.
        normals: ``(N, 3)`` directions, any length and sign; None: estimated from the neighbours.
        views: number of pictures; see :func:`~pointssl_datasets.render_cameras.cameras`.
        size: side of a picture in pixels.
        seed: of the cameras. The same arguments give the same bytes.
        colours: ``(N, 3)``, 0-255; None: neutral grey.

    Returns:
        ``(views, size, size, 4)`` RGBA, not premultiplied; alpha 0 where there is no surface.

    Raises:
        DataError: an empty cloud, wrong shapes, or values that are not finite.
        UsageError: ``views`` or ``size`` below 1.
    """
    check_size(size)
    poses = cameras(views, seed)
    shape = surfels(xyz, normals, colours)
    return np.stack([splat(shape, pose, size)[0] for pose in poses])


def surfels(
    xyz: ArrayLike,
    normals: ArrayLike | None = None,
    colours: ArrayLike | None = None,
    *,
    frame: bool = True,
) -> Surfels:
    """The ellipses of a cloud, once for all views; arguments as for :func:`render_views`."""
    points = checked(xyz, "cloud to render")
    count = len(points)
    given = None if normals is None else checked(normals, "normals of the cloud", rows=count)
    colour = None if colours is None else checked(colours, "colours of the cloud", rows=count)
    if frame:
        points = framed(points, points.mean(axis=0))

    tree = cKDTree(points)
    near = _nearest(tree, points)
    if (points[near[:, -1]] == points).all(axis=1).any():  # padded with copies of a few points
        first = np.sort(np.unique(points, axis=0, return_index=True)[1])
        tree = cKDTree(points[first])
        near = first[_nearest(tree, points)]
    group = points[near]  # (N, K, 3)
    centre = group.mean(axis=1)
    offset = group - centre[:, None]
    covariance = np.einsum("nki,nkj->nij", offset, offset) / group.shape[1]
    # Among scattered leaves the neighbours lie far apart without a surface between them.
    spread = np.trace(covariance, axis1=1, axis2=2)
    limit = WIDEST**2 * np.median(spread)
    covariance *= np.minimum(1.0, limit / np.maximum(spread, 1e-300))[:, None, None]
    plane = np.linalg.eigh(covariance)[1][:, :, 0]  # direction in which the neighbours vary least
    group = plane[near]
    normal = (group * np.sign(np.einsum("ni,nki->nk", plane, group))[:, :, None]).sum(axis=1)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)  # smoothed over the neighbours
    if given is not None:
        length = np.linalg.norm(given, axis=1, keepdims=True)
        normal = np.where(length > 0, given / np.where(length > 0, length, 1.0), plane)
    return Surfels(centre, covariance, plane, normal, colour)


def _nearest(tree: cKDTree, points: Array) -> NDArray[np.int64]:
    """Indices ``(N, K)`` of the nearest points, K at most :data:`NEIGHBOURS`."""
    index = np.asarray(tree.query(points, k=min(NEIGHBOURS, tree.n))[1], dtype=np.int64)
    return index.reshape(len(points), -1)


def splat(shape: Surfels, camera: Array, size: int) -> tuple[NDArray[np.uint8], Array]:
    """One picture: ``(size, size, 4)`` RGBA and the depth along the camera's axis ``(size, size)``.

    Depth is infinite where there is no surface. Pixel centres are at integer + 0.5.
    """
    ellipses = _project(shape, camera, size)
    bands = [_draw(ellipses, size, top, min(top + BAND, size)) for top in range(0, size, BAND)]
    return np.concatenate([band[0] for band in bands]), np.concatenate([band[1] for band in bands])


def _project(shape: Surfels, camera: Array, size: int) -> dict[str, NDArray[np.float32]]:
    """Every surfel as an ellipse on the picture; values ``(N,)``, shades ``(N, 1 or 3)``.

    Inside is ``a u^2 + b u v + c v^2 < 1``, with u, v the distance in pixels from ``column, row``;
    there 1 / depth is ``near + across u + down v``, as on every plane seen in perspective.
    """
    turn = camera[:, :3]
    centre = shape.centre @ turn.T + camera[:, 3]
    visible = centre[:, 2] > 0.05 * DISTANCE  # the rest is behind the viewer
    centre, covariance = centre[visible], shape.covariance[visible]
    plane = shape.plane[visible] @ turn.T
    depth = centre[:, 2]
    focal = FOCAL * size

    project = np.zeros((len(depth), 2, 3))  # derivative of the perspective at the centre
    project[:, 0, 0] = project[:, 1, 1] = focal / depth
    project[:, :, 2] = -focal * centre[:, :2] / depth[:, None] ** 2
    project = project @ turn
    spread = project @ covariance @ project.transpose(0, 2, 1)
    xx, xy, yy = spread[:, 0, 0] + BLUR**2, spread[:, 0, 1], spread[:, 1, 1] + BLUR**2
    scale = 1 / (CUTOFF**2 * (xx * yy - xy * xy))

    along = (plane * centre).sum(axis=1) / depth
    along = np.where(np.abs(along) < 1e-6, 1e-6, along)
    across, down = (plane[:, :2] / (along * depth * focal)[:, None]).T
    # Seen edge-on that slope has no bound: keep to the ellipse's extent along the line of sight.
    extent = CUTOFF * np.sqrt(np.einsum("i,nij,j->n", turn[2], covariance, turn[2])) / depth**2
    reach = CUTOFF * np.sqrt(across**2 * xx + 2 * across * down * xy + down**2 * yy)
    limit = np.minimum(1.0, extent / np.maximum(reach, 1e-12))

    light = lit(shape.normal[visible] @ turn.T, centre)
    colour = np.array([GREY]) if shape.colour is None else shape.colour[visible]
    ellipses = {
        "column": focal * centre[:, 0] / depth + size / 2 - 0.5,
        "row": focal * centre[:, 1] / depth + size / 2 - 0.5,
        "half_width": CUTOFF * np.sqrt(xx),
        "half_height": CUTOFF * np.sqrt(yy),
        "a": scale * yy,
        "b": -2 * scale * xy,
        "c": scale * xx,
        "near": 1 / depth,
        "across": across * limit,
        "down": down * limit,
        "shade": light[:, None] * colour,
        # How far apart the points typically are, which tells one sheet of surface from the next.
        "sheet": np.sqrt(np.median(np.trace(covariance, axis1=1, axis2=2), keepdims=True)),
    }
    return {name: values.astype(np.float32) for name, values in ellipses.items()}


def _draw(
    on: dict[str, NDArray[np.float32]], size: int, first: int, stop: int
) -> tuple[NDArray[np.uint8], Array]:
    """Rows ``first`` to ``stop`` of the picture and of its depth."""
    left = np.clip(np.ceil(on["column"] - on["half_width"]), 0, size).astype(np.int64)
    right = np.clip(np.floor(on["column"] + on["half_width"]), -1, size - 1).astype(np.int64)
    top = np.clip(np.ceil(on["row"] - on["half_height"]), first, stop).astype(np.int64)
    bottom = np.clip(np.floor(on["row"] + on["half_height"]), first - 1, stop - 1).astype(np.int64)
    area, x, y = boxes(left, right, top, bottom)

    # From here on there are ~100 candidates for each point: single precision, and few passes.
    def spread(name: str) -> NDArray[np.float32]:
        return np.repeat(on[name], area)

    u = x.astype(np.float32) - spread("column")
    v = y.astype(np.float32) - spread("row")
    q = u * (spread("a") * u + spread("b") * v) + spread("c") * v * v
    inside = np.flatnonzero(q < 1)
    u, v, q = u[inside], v[inside], q[inside]
    item = np.repeat(np.arange(len(area)), area)[inside]
    pixel = (y[inside] - first) * size + x[inside]
    pixels = (stop - first) * size
    weight = (1 - q) ** 2
    # Weights fall to zero at the border of an ellipse, which makes a soft outline.
    cover = np.minimum(1.0, 3 * np.bincount(pixel, weight, minlength=pixels))

    inverse = on["near"][item] + on["across"][item] * u + on["down"][item] * v
    # Bent away from the viewer, so that the middle of one ellipse wins over the rim of another.
    sheet = on["sheet"] / np.float32(DISTANCE)
    inverse *= 1 - np.float32(0.5) * sheet * q
    front = np.zeros(pixels, dtype=np.float32)
    np.maximum.at(front, pixel, inverse)
    # Blend the surfels of the front sheet: those within an ellipse's width of the nearest.
    seen = np.flatnonzero(inverse >= front[pixel] * (1 - sheet))
    item, pixel, inverse, weight = item[seen], pixel[seen], inverse[seen], weight[seen]
    total = np.bincount(pixel, weight, minlength=pixels)
    total[total == 0] = 1.0

    def blended(values: NDArray[np.float32]) -> Array:
        return np.bincount(pixel, weight * values, minlength=pixels) / total

    picture = np.empty((pixels, 4))
    for channel, shade in enumerate(on["shade"].T):  # one if grey, else red, green, blue
        picture[:, channel:3] = blended(shade[item])[:, None]
    picture[:, 3] = 255 * cover
    empty = picture[:, 3] < 1
    picture[empty] = 0
    far = np.full(pixels, np.inf)
    np.divide(1.0, blended(inverse), out=far, where=~empty)
    rgba = np.rint(np.clip(picture, 0, 255)).astype(np.uint8)
    return rgba.reshape(-1, size, 4), far.reshape(-1, size)
