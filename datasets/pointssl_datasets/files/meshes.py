"""Triangle meshes (``.off .obj .stl .glb``, ``.ply`` with faces), and sampling points on them."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pointssl_datasets.base.errors import DataError
from pointssl_datasets.files.glb import read_glb
from pointssl_datasets.files.off import read_off
from pointssl_datasets.files.ply import read_ply
from pointssl_datasets.files.stl import read_stl
from pointssl_datasets.files.wavefront import read_obj


class Mesh(NamedTuple):
    """A triangle mesh, in the axes and scale of its file. It may have no faces."""

    vertices: NDArray[np.float64]  # (V, 3), finite
    faces: NDArray[np.int64]  # (F, 3), from 0 to V - 1


_Parts = tuple[NDArray[np.float64], NDArray[np.int64]]


def _read_ply_mesh(path: Path) -> _Parts:
    ply = read_ply(path)
    return ply.columns("x", "y", "z").astype(np.float64), ply.faces


_READERS: dict[str, Callable[[Path], _Parts]] = {
    ".off": read_off,
    ".obj": read_obj,
    ".stl": read_stl,
    ".glb": read_glb,
    ".ply": _read_ply_mesh,
}
MESH_SUFFIXES = (".off", ".obj", ".stl", ".glb")  # formats of meshes only, unlike .ply


def read_mesh(path: Path) -> Mesh:
    """The triangles of a mesh file. Polygons are cut into fans, all nodes of a scene are joined.

    Materials and textures are ignored, and no other file is opened.

    Raises:
        DataError: the file is missing, empty, truncated or damaged, has no vertices, some are NaN
            or infinite, or a face refers to a vertex that does not exist.
    """
    suffix = path.suffix.lower()
    if suffix not in _READERS:
        raise DataError(f"{path}: unknown file format; meshes are {' '.join(_READERS)}")
    check_file(path)
    try:
        return check_mesh(*_READERS[suffix](path), path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None


def check_mesh(vertices: NDArray[np.float64], faces: NDArray[np.int64], path: Path) -> Mesh:
    """A mesh of the vertices ``(V, 3)`` and faces ``(F, 3)`` of a file, checked.

    Raises:
        DataError: see :func:`read_mesh`.
    """
    if not len(vertices):
        raise DataError(f"{path}: the mesh has no vertices")
    finite = np.isfinite(vertices).all(axis=1)
    if not finite.all():
        bad = np.flatnonzero(~finite)
        raise DataError(
            f"{path}: {len(bad)} of {len(vertices)} vertices are NaN or infinite, "
            f"the first is number {bad[0]} (counted from 0)"
        )
    if len(faces) and (faces.min() < 0 or faces.max() >= len(vertices)):
        bad = faces[(faces < 0) | (faces >= len(vertices))]
        raise DataError(
            f"{path}: {len(bad)} corners of faces refer to vertices that do not exist, e.g. "
            f"number {bad[0]} of {len(vertices)} (counted from 0)"
        )
    return Mesh(vertices, faces)


def check_file(path: Path) -> None:
    """Checks that there is something to read.

    Raises:
        DataError: there is no such file, or it is empty.
    """
    if not path.is_file():
        raise DataError(f"{path}: {'is not a file' if path.exists() else 'no such file'}")
    if path.stat().st_size == 0:
        raise DataError(f"{path}: the file is empty")


def sample_mesh(
    vertices: NDArray[np.floating], faces: NDArray[np.integer], count: int, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """``count`` points, independent and uniform by area, and the unit normals of their triangles.

    Points in a triangle follow Osada et al., Shape Distributions, ACM ToG 2002. A normal points to
    the side from which the corners are counter-clockwise; many meshes are not consistent in that.

    Args:
        vertices: ``(V, 3)``, finite.
        faces: ``(F, 3)``; triangles without area get no points.
        count: number of points.
        rng: source of all randomness.

    Returns:
        points ``(count, 3)`` and normals ``(count, 3)``, both float32.

    Raises:
        ValueError: no triangle has an area.
    """
    xyz, normals = draw(vertices, faces, count, rng)
    return xyz.astype(np.float32), normals.astype(np.float32)


def draw(
    vertices: NDArray[np.floating], faces: NDArray[np.integer], count: int, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """:func:`sample_mesh` in float64."""
    x, y, z = np.moveaxis(vertices[faces].astype(np.float64), 2, 0)  # (F, 3 corners) each
    with np.errstate(over="ignore", invalid="ignore"):
        along = np.stack([x[:, 1] - x[:, 0], y[:, 1] - y[:, 0], z[:, 1] - z[:, 0]], axis=1)
        across = np.stack([x[:, 2] - x[:, 0], y[:, 2] - y[:, 0], z[:, 2] - z[:, 0]], axis=1)
        longest = max(np.abs(along).max(initial=0), np.abs(across).max(initial=0))
        # Edges are scaled to at most 1: areas neither overflow nor vanish, whatever the unit.
        normals = _cross(along / (longest or 1), across / (longest or 1))
        doubled = np.sqrt(np.einsum("fi,fi->f", normals, normals))  # twice the area
        cumulative = np.cumsum(doubled)
    if not len(cumulative) or not cumulative[-1] > 0:
        raise ValueError("no triangle has an area")
    face = np.searchsorted(cumulative, rng.random(count) * cumulative[-1], side="right")
    u, v = rng.random((2, count, 1))
    beyond = u + v > 1  # the other half of the parallelogram is folded back
    u, v = np.where(beyond, 1 - u, u), np.where(beyond, 1 - v, v)
    start = np.stack([x[face, 0], y[face, 0], z[face, 0]], axis=1)
    return start + u * along[face] + v * across[face], normals[face] / doubled[face, None]


def _cross(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cross products of rows; much faster than ``np.cross``."""
    (ax, ay, az), (bx, by, bz) = a.T, b.T
    return np.stack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx], axis=1)
