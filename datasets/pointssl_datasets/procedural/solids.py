"""The surfaces that procedural objects are made of: triangles with smooth vertex normals.

A solid is a grid of points, rows by columns, that is either smooth or creased in each of the two
directions. Normals are central differences along the grid; a creased direction repeats its points,
so that each side of a crease has its own normal. The arithmetic is element-wise: no matrix product
is so large that a threaded BLAS could change its last bit.

Lengths are in the object's own unit, y is up, angles are radians. Points may be given as tuples.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Point = tuple[float, float, float]
Points = Array | Sequence[Sequence[float]]
Amount = float | Array | Sequence[float]


class Solid(NamedTuple):
    """A surface: ``vertices (V, 3)``, outward unit ``normals (V, 3)``, ``faces (F, 3)``.

    A vertex whose normal is undefined (the tip of a cone) has a zero normal, so that the other
    corners of its triangles decide.
    """

    vertices: Array
    normals: Array
    faces: NDArray[np.int64]


Parts = list[tuple[int, Solid]]
"""The solids of an object, each with the number of its part."""


class GridLine(NamedTuple):
    """How a row of points becomes a row of V vertices."""

    take: NDArray[np.int64]  # (V,): the point of each vertex
    ahead: NDArray[np.int64]  # (V,) and
    behind: NDArray[np.int64]  # (V,): the two points whose difference is the derivative
    cells: NDArray[np.int64]  # (C, 2): the pairs of vertices that span a cell


@lru_cache(maxsize=256)
def grid_line(count: int, closed: bool, sharp: bool) -> GridLine:
    i = np.arange(count if closed else count - 1)
    after = (i + 1) % count
    if sharp:
        pairs = np.arange(2 * len(i)).reshape(-1, 2)
        return GridLine(np.stack([i, after], 1).ravel(), after.repeat(2), i.repeat(2), pairs)
    if closed:
        return GridLine(i, after, (i - 1) % count, np.stack([i, after], 1))
    j = np.arange(count)
    return GridLine(j, np.minimum(j + 1, count - 1), np.maximum(j - 1, 0), np.stack([i, after], 1))


@lru_cache(maxsize=512)
def grid_faces(rows: tuple[int, bool, bool], columns: tuple[int, bool, bool]) -> NDArray[np.int64]:
    row, column = grid_line(*rows), grid_line(*columns)
    r0, r1 = row.cells[:, :1] * len(column.take), row.cells[:, 1:] * len(column.take)
    c0, c1 = column.cells[:, 0], column.cells[:, 1]
    a, b, c, d = (r0 + c0).ravel(), (r0 + c1).ravel(), (r1 + c1).ravel(), (r1 + c0).ravel()
    return np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])


def cross(a: Array, b: Array) -> Array:
    """Cross product along the last axis; several times faster than ``np.cross`` on small arrays."""
    ax, ay, az = a[..., 0], a[..., 1], a[..., 2]
    bx, by, bz = b[..., 0], b[..., 1], b[..., 2]
    return np.stack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx], -1)


def lengths(v: Array) -> Array:
    """Euclidean length along the last axis of three; much faster than ``sum(-1)`` over so few."""
    x, y, z = v[..., 0], v[..., 1], v[..., 2]
    return np.sqrt(x * x + y * y + z * z)


def unit(v: Array) -> Array:
    """Vectors scaled to length one; zero vectors stay zero."""
    return v / np.maximum(lengths(v), 1e-12)[..., None]


def grid_surface(
    points: Array, rows: tuple[int, bool, bool], columns: tuple[int, bool, bool]
) -> tuple[Array, Array]:
    """Vertices and unit normals ``(rows, columns, 3)`` of a grid of points."""
    row, column = grid_line(*rows), grid_line(*columns)
    rowed = points[row.take]
    along = rowed[:, column.ahead] - rowed[:, column.behind]
    across = (points[row.ahead] - points[row.behind])[:, column.take]
    return rowed[:, column.take], unit(cross(across, along))


def join(*solids: Solid) -> Solid:
    """Several surfaces as one."""
    offsets = np.cumsum([0] + [len(s.vertices) for s in solids])
    return Solid(
        np.concatenate([s.vertices for s in solids]),
        np.concatenate([s.normals for s in solids]),
        np.concatenate([s.faces + o for s, o in zip(solids, offsets, strict=False)]),
    )


def rotation(x: float = 0.0, y: float = 0.0, z: float = 0.0) -> Array:
    """Matrix ``(3, 3)`` of a rotation about the x axis, then y, then z; angles in radians."""
    cx, sx, cy, sy, cz, sz = (f(a) for a in (x, y, z) for f in (math.cos, math.sin))
    return np.array(
        [
            [cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx],
            [sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx],
            [-sy, cy * sx, cy * cx],
        ]
    )


def rotate(v: Array, matrix: Array) -> Array:
    """``matrix @ v`` for vectors ``(..., 3)``."""
    return v[..., :1] * matrix[:, 0] + v[..., 1:2] * matrix[:, 1] + v[..., 2:] * matrix[:, 2]


def place(solid: Solid, at: Point = (0.0, 0.0, 0.0), turn: Array | None = None) -> Solid:
    """The solid rotated about the origin by ``turn``, then moved to ``at``."""
    vertices, normals, faces = solid
    if turn is not None:
        vertices, normals = rotate(vertices, turn), rotate(normals, turn)
    return Solid(vertices + np.array(at), normals, faces)


def stretch(solid: Solid, factors: Point) -> Solid:
    """The solid scaled by positive ``factors`` along the axes, before it is placed."""
    by = np.array(factors)
    return Solid(solid.vertices * by, unit(solid.normals / by), solid.faces)


def aim(axis: Array) -> Array:
    """A rotation that takes the y axis to the unit vector ``axis (3,)``."""
    x, y, z = axis.tolist()
    if abs(x) < 0.9:
        length = math.hypot(y, z)
        side = np.array([length, -x * y / length, -x * z / length])
    else:
        length = math.hypot(x, y)
        side = np.array([-x * z / length, -y * z / length, length])
    return np.stack([side, axis, cross(side, axis)], 1)


@lru_cache(maxsize=64)
def ring(sides: int, power: float = 2.0) -> Array:
    """Superellipse ``|x|^power + |y|^power = 1`` as points ``(sides, 2)``; power 2 is a circle."""
    angle = (np.arange(sides) + 0.5) * (2 * math.pi / sides)
    c, s = np.cos(angle), np.sin(angle)
    points = np.stack([c, s], 1)
    if power != 2.0:
        points /= ((np.abs(c) ** power + np.abs(s) ** power) ** (1 / power))[:, None]
    points.setflags(write=False)
    return points


def bezier(a: Sequence[float], b: Sequence[float], c: Sequence[float], d: Sequence[float],
           count: int = 12) -> Array:  # fmt: skip
    """Cubic Bezier curve as points ``(count, 3)`` (or of the control points' dimension)."""
    t = np.linspace(0.0, 1.0, count)[:, None]
    u = 1.0 - t
    return (
        u * u * u * np.array(a)
        + 3 * u * u * t * np.array(b)
        + 3 * u * t * t * np.array(c)
        + t * t * t * np.array(d)
    )


def loft(sections: Array, *, sharp: bool = False, ridged: bool = False, closed: bool = False,
         caps: bool = True) -> Solid:  # fmt: skip
    """The surface through closed cross-sections ``(M, K, 3)``.

    Args:
        sharp: creases along the points of the sections, as on a prism.
        ridged: creases at every section, as on a stepped shaft.
        closed: the last section joins the first.
        caps: close the first and last section with flat lids (ignored when closed).
    """
    m, k, _ = sections.shape
    rows, columns = (m, closed, ridged), (k, True, sharp)
    vertices, normals = grid_surface(sections, rows, columns)
    centres = sections.mean(1)
    outward = vertices - centres[grid_line(*rows).take][:, None]
    if (outward * normals).sum() < 0:
        normals = -normals
    skin = Solid(vertices.reshape(-1, 3), normals.reshape(-1, 3), grid_faces(rows, columns))
    if closed or not caps:
        return skin
    first = _lid(sections[0], centres[0], centres[0] - centres[1])
    return join(skin, first, _lid(sections[-1], centres[-1], centres[-1] - centres[-2]))


def _lid(section: Array, centre: Array, outward: Array) -> Solid:
    rows, columns = (2, False, False), (len(section), True, False)
    points = np.stack([section, np.broadcast_to(centre, section.shape)])
    vertices, normals = grid_surface(points, rows, columns)
    if (normals[0] * outward).sum() < 0:
        normals = -normals
    return Solid(vertices.reshape(-1, 3), normals.reshape(-1, 3), grid_faces(rows, columns))
