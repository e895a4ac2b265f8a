"""Pictures of a triangle mesh without a graphics card: a z-buffer, in numpy."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pointssl_datasets.errors import DataError
from pointssl_datasets.render_cameras import (
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

SUPERSAMPLING = 2  # each pixel is the mean of this many squared
CHUNK = 1 << 18  # candidate pixels that are looked at together, which bounds the memory


def render_mesh(
    vertices: ArrayLike, faces: ArrayLike, *, views: int, size: int, seed: int
) -> NDArray[np.uint8]:
    """Shaded pictures of a mesh from cameras around it, on a transparent background.

    The mesh is framed first: centred on the centroid of its surface, its furthest vertex at
    distance 1. Triangles are flat-shaded and lit on both sides, so neither closed surfaces nor
    consistent winding are needed; triangles without area are left out.

    Args:
        vertices: ``(V, 3)``, y up, any scale.
        faces: ``(F, 3)`` indices of vertices.
        views: number of pictures; see :func:`~pointssl_datasets.render_cameras.cameras`.
        size: side of a picture in pixels.
        seed: of the cameras. The same arguments give the same bytes.

    Returns:
        ``(views, size, size, 4)`` RGBA, not premultiplied; alpha 0 where there is no surface.

    Raises:
        DataError: no vertices or faces, wrong shapes, values that are not finite, faces that name
            vertices which do not exist, or no face with an area.
        UsageError: ``views`` or ``size`` below 1.
    """
    check_size(size)
    poses = cameras(views, seed)
    corners = triangles(vertices, faces)
    fine = size * SUPERSAMPLING
    pictures = np.empty((views, size, size, 4), dtype=np.uint8)
    for picture, pose in zip(pictures, poses, strict=True):
        face, _ = rasterise(corners, pose, fine)
        light = np.append(_light(corners, pose), 0.0)[face]  # face -1, the background, is black
        alpha = _shrink((face >= 0).astype(np.float64))
        shade = np.divide(_shrink(light), alpha, out=np.zeros_like(alpha), where=alpha > 0)
        picture[:, :, :3] = np.rint(np.clip(GREY * shade, 0, 255))[:, :, None]
        picture[:, :, 3] = np.rint(255 * alpha)
    return pictures


def triangles(vertices: ArrayLike, faces: ArrayLike, *, frame: bool = True) -> Array:
    """Corners ``(F, 3, 3)`` of the faces with an area; arguments as for :func:`render_mesh`."""
    points = checked(vertices, "vertices of the mesh")
    index = checked(faces, "faces of the mesh").astype(np.int64)
    if index.min() < 0 or index.max() >= len(points):
        wrong = int(index.min() if index.min() < 0 else index.max())
        raise DataError(
            f"faces of the mesh: vertex {wrong} does not exist, there are {len(points)}"
        )
    corners = points[index]
    area = np.linalg.norm(_normals(corners), axis=1) / 2
    corners, area = corners[area > 0], area[area > 0]
    if len(corners) == 0:
        raise DataError(f"faces of the mesh: none of the {len(index)} has an area")
    if frame:
        centre = np.average(corners.mean(axis=1), axis=0, weights=area)
        corners = framed(corners.reshape(-1, 3), centre).reshape(-1, 3, 3)
    return corners


def rasterise(corners: Array, camera: Array, size: int) -> tuple[NDArray[np.int64], Array]:
    """The nearest triangle at each pixel's centre, and its depth along the camera's axis.

    Args:
        corners: ``(F, 3, 3)``, all in front of the camera.
        camera: ``(3, 4)`` world to camera.
        size: side of the picture in pixels.

    Returns:
        ``(size, size)`` index of the face, -1 where there is none; ``(size, size)`` depth, infinite
        there. Of two faces at the same depth the one listed last is seen.
    """
    seen = corners @ camera[:, :3].T + camera[:, 3]
    inverse = 1 / seen[:, :, 2]  # linear on the picture, unlike depth itself
    x = FOCAL * size * seen[:, :, 0] * inverse + size / 2 - 0.5
    y = FOCAL * size * seen[:, :, 1] * inverse + size / 2 - 0.5
    # Barycentric weight k is 1 at corner k and 0 on the opposite edge: dx_k u + dy_k v + offset.
    twice = (x[:, 1] - x[:, 0]) * (y[:, 2] - y[:, 0]) - (x[:, 2] - x[:, 0]) * (y[:, 1] - y[:, 0])
    edge_on = np.abs(twice) < 1e-9  # covers no pixel centre
    seen, inverse, x, y, twice = (v[~edge_on] for v in (seen, inverse, x, y, twice))
    number = np.flatnonzero(~edge_on)
    dx1, dy1 = (y[:, 2] - y[:, 0]) / twice, (x[:, 0] - x[:, 2]) / twice
    dx2, dy2 = (y[:, 0] - y[:, 1]) / twice, (x[:, 1] - x[:, 0]) / twice
    step1, step2 = inverse[:, 1] - inverse[:, 0], inverse[:, 2] - inverse[:, 0]

    left = np.clip(np.ceil(x.min(axis=1)), 0, size).astype(np.int64)
    right = np.clip(np.floor(x.max(axis=1)), -1, size - 1).astype(np.int64)
    top = np.clip(np.ceil(y.min(axis=1)), 0, size).astype(np.int64)
    bottom = np.clip(np.floor(y.max(axis=1)), -1, size - 1).astype(np.int64)

    nearest = np.zeros(size * size)
    face = np.full(size * size, -1)
    work = np.cumsum(np.maximum(right - left + 1, 0) * np.maximum(bottom - top + 1, 0))
    cuts = np.searchsorted(work, np.arange(CHUNK, work[-1] if len(work) else 0, CHUNK))
    for part in np.split(np.arange(len(number)), cuts):
        area, column, row = boxes(left[part], right[part], top[part], bottom[part])
        item = np.repeat(part, area)
        u, v = column - x[item, 0], row - y[item, 0]
        w1 = dx1[item] * u + dy1[item] * v
        w2 = dx2[item] * u + dy2[item] * v
        inside = np.flatnonzero((w1 >= -1e-9) & (w2 >= -1e-9) & (w1 + w2 <= 1 + 1e-9))
        item, w1, w2 = item[inside], w1[inside], w2[inside]
        pixel = row[inside] * size + column[inside]
        near = inverse[item, 0] + step1[item] * w1 + step2[item] * w2
        np.maximum.at(nearest, pixel, near)
        won = near == nearest[pixel]
        face[pixel[won]] = number[item[won]]
    depth = np.full(size * size, np.inf)
    np.divide(1.0, nearest, out=depth, where=face >= 0)
    return face.reshape(size, size), depth.reshape(size, size)


def _normals(corners: Array) -> Array:
    """Normals ``(F, 3)``, as long as twice the triangle's area."""
    return np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])


def _light(corners: Array, camera: Array) -> Array:
    """Brightness ``(F,)`` of each triangle, 0-1."""
    seen = corners @ camera[:, :3].T + camera[:, 3]
    normal = _normals(seen)
    return lit(normal / np.linalg.norm(normal, axis=1, keepdims=True), seen.mean(axis=1))


def _shrink(fine: Array) -> Array:
    """Mean over each block of SUPERSAMPLING x SUPERSAMPLING pixels."""
    small = len(fine) // SUPERSAMPLING
    blocks = fine.reshape(small, SUPERSAMPLING, small, SUPERSAMPLING)
    return np.asarray(blocks.mean(axis=(1, 3)))
