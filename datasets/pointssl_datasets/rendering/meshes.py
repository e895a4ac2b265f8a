"""Renders triangle meshes without a graphics card, by a z-buffer."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pointssl_datasets.base.errors import DataError
from pointssl_datasets.rendering import loops
from pointssl_datasets.rendering.cameras import (
    FOCAL,
    Array,
    cameras,
    check_size,
    checked,
    framed,
    placement,
    unit_box,
)
from pointssl_datasets.rendering.styles import check_style, finished, values

SUPERSAMPLING = 2  # each pixel is the mean of this many squared


def render_mesh(
    vertices: ArrayLike,
    faces: ArrayLike,
    *,
    views: int,
    size: int,
    seed: int,
    style: str = "shaded",
    cameras: str = "ring",
) -> NDArray[np.uint8]:
    """Renders a mesh from cameras around it, on a transparent background.

    The mesh is framed first: centred on the centroid of its surface, its furthest vertex at
    distance 1. Triangles are flat-shaded and lit on both sides, so neither closed surfaces nor
    consistent winding are needed; triangles without area are left out.

    Args:
        vertices: ``(V, 3)``, y up, any scale.
        faces: ``(F, 3)`` indices of vertices.
        views: number of images.
        size: side of an image in pixels.
        seed: of the cameras. The same arguments give the same bytes.
        style: ``"shaded"``, ``"depth"``, ``"normals"`` or ``"silhouette"``; see
            :func:`~pointssl_datasets.rendering.styles.finished`.
        cameras: ``"ring"`` or ``"sphere"``; see :func:`~.cameras.cameras`.

    Returns:
        ``(views, size, size, 4)`` RGBA, not premultiplied; alpha 0 where there is no surface.

    Raises:
        DataError: no vertices or faces, wrong shapes, values that are not finite, faces that name
            vertices which do not exist, or no face with an area.
        UsageError: ``views`` or ``size`` below 1, an unknown style or kind of cameras.
    """
    check_size(size)
    check_style(style)
    poses = _cameras(views, seed, cameras)
    points, index = triangles(vertices, faces)
    normals = _normals(points[index])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    return np.stack([_render(points, index, normals, pose, size, style) for pose in poses])


_cameras = cameras  # `render_mesh` has an argument of that name


def triangles(
    vertices: ArrayLike, faces: ArrayLike, *, frame: bool = True
) -> tuple[Array, NDArray[np.int64]]:
    """``(V, 3)`` vertices and ``(F, 3)`` the faces with an area; arguments as for `render_mesh`."""
    points = checked(vertices, "vertices of the mesh")
    numbers = checked(faces, "faces of the mesh")
    index = numbers.astype(np.int64)
    if (index != numbers).any():
        raise DataError("faces of the mesh: expected whole numbers, the indices of vertices")
    if index.min() < 0 or index.max() >= len(points):
        wrong = int(index.min() if index.min() < 0 else index.max())
        raise DataError(
            f"faces of the mesh: vertex {wrong} does not exist, there are {len(points)}"
        )
    used = np.zeros(len(points), dtype=bool)
    used[index] = True
    points, index = points[used], (np.cumsum(used) - 1)[index]  # stray ones don't shift the frame
    boxed = unit_box(points)
    area = np.linalg.norm(_normals(boxed[index]), axis=1)
    solid = area > 0
    if not solid.any():
        raise DataError(f"faces of the mesh: none of the {len(index)} has an area")
    if frame:
        centre = np.average(_middles(boxed, index), axis=0, weights=area)
        points = framed(boxed, centre)
    return points, np.ascontiguousarray(index[solid])


def mesh_placement(vertices: Array, faces: NDArray[np.int64]) -> tuple[float, Array]:
    """``scale`` and ``shift (3,)`` by which :func:`render_mesh` frames a mesh."""
    original, _ = triangles(vertices, faces, frame=False)
    placed, _ = triangles(vertices, faces)
    scale, shift, _ = placement(original, placed)
    return scale, shift


def rasterise(
    vertices: Array, faces: NDArray[np.int64], camera: Array, size: int
) -> tuple[NDArray[np.int64], Array]:
    """The nearest triangle at each pixel's centre, and its depth along the camera's axis.

    Args:
        vertices: ``(V, 3)``, all in front of the camera.
        faces: ``(F, 3)`` indices of vertices.
        camera: ``(3, 4)`` world to camera.
        size: side of the image in pixels.

    Returns:
        ``(size, size)`` index of the face, -1 where there is none; ``(size, size)`` depth, infinite
        there. Of two faces at the same depth the one listed last is seen.
    """
    across, down, away = camera[:, :3] @ vertices.T + camera[:, 3:]
    inverse = 1 / away  # linear over the image, unlike depth itself
    x = FOCAL * size * across * inverse + size / 2 - 0.5
    y = FOCAL * size * down * inverse + size / 2 - 0.5
    face, nearest = loops.rasterise(x, y, inverse, faces, size)
    depth = np.full((size, size), np.inf)
    np.divide(1.0, nearest, out=depth, where=face >= 0)
    return face, depth


def _render(
    vertices: Array,
    faces: NDArray[np.int64],
    normals: Array,
    camera: Array,
    size: int,
    style: str,
) -> NDArray[np.uint8]:
    """``(size, size, 4)`` RGBA."""
    face, depth = rasterise(vertices, faces, camera, size * SUPERSAMPLING)
    hit = face >= 0
    seen = np.zeros(len(faces), dtype=bool)  # most faces of a fine mesh are hidden: no light there
    seen[face[hit]] = True
    place = _middles(vertices, faces[seen]) @ camera[:, :3].T + camera[:, 3]
    shades = values(style, normals[seen] @ camera[:, :3].T, place, None)
    number = np.cumsum(seen) - 1
    fine = np.zeros((*face.shape, shades.shape[1]))
    fine[hit] = shades[number[face[hit]]]
    share = _shrink(hit.astype(np.float64)[:, :, None])  # (size, size, 1)
    part = np.maximum(share, 1e-12)
    mean = _shrink(np.where(hit, depth, 0.0)[:, :, None]) / part
    return finished(style, _shrink(fine) / part, mean[:, :, 0], 255 * share[:, :, 0])


def _normals(corners: Array) -> Array:
    """Normals ``(F, 3)`` of corners ``(F, 3, 3)``, as long as twice the triangle's area."""
    return np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])


def _middles(vertices: Array, faces: NDArray[np.int64]) -> Array:
    """``(F, 3)`` means of the corners of each face."""
    return (vertices[faces[:, 0]] + vertices[faces[:, 1]] + vertices[faces[:, 2]]) / 3


def _shrink(fine: Array) -> Array:
    """Mean over each block of SUPERSAMPLING x SUPERSAMPLING pixels, ``(H, W, C)``."""
    parts = [
        fine[i::SUPERSAMPLING, j::SUPERSAMPLING]
        for i in range(SUPERSAMPLING)
        for j in range(SUPERSAMPLING)
    ]
    return np.asarray(sum(parts[1:], parts[0]) / len(parts))
