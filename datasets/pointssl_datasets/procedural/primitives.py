"""The primitives that objects are built from: box, rod, ellipsoid, revolve, sweep, ...

All return a :class:`~pointssl_datasets.procedural.solids.Solid`; its module has the conventions.
"""

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pointssl_datasets.procedural.solids import (
    Amount,
    Array,
    Point,
    Points,
    Solid,
    aim,
    cross,
    grid_faces,
    grid_line,
    grid_surface,
    loft,
    ring,
    rotate,
    unit,
)

_ORIGIN = (0.0, 0.0, 0.0)
_UP = (0.0, 1.0, 0.0)


@lru_cache(maxsize=1)
def _cube() -> tuple[Array, Array, NDArray[np.int64]]:
    corners, normals = [], []
    for axis in range(3):
        for sign in (-1.0, 1.0):
            for p, q in ((-1, -1), (1, -1), (1, 1), (-1, 1)):
                corner = np.zeros(3)
                corner[axis], corner[axis - 1], corner[axis - 2] = sign, p, q
                corners.append(corner / 2)
                normals.append(np.eye(3)[axis] * sign)
    quad = np.arange(0, 24, 4)[:, None]
    faces = np.concatenate([quad + np.array([0, 1, 2]), quad + np.array([0, 2, 3])])
    return np.array(corners), np.array(normals), faces


def box(size: Point, at: Point = _ORIGIN, turn: Array | None = None) -> Solid:
    """A box of full lengths ``size`` centred at ``at``."""
    corners, normals, faces = _cube()
    vertices = corners * np.array(size)
    if turn is not None:
        vertices, normals = rotate(vertices, turn), rotate(normals, turn)
    return Solid(vertices + np.array(at), normals, faces)


def wedge(
    size: Point,
    at: Point = _ORIGIN,
    top: tuple[float, float] = (1.0, 1.0),
    shift: tuple[float, float] = (0.0, 0.0),
) -> Solid:
    """A box whose top face is scaled by ``top`` and moved by ``shift``, both along (x, z)."""
    x, y, z = size[0] / 2, size[1] / 2, size[2] / 2
    base = np.array([[x, -y, z], [-x, -y, z], [-x, -y, -z], [x, -y, -z]])
    lid = base * [top[0], -1.0, top[1]] + [shift[0], 0.0, shift[1]]
    return loft(np.stack([base, lid]) + np.array(at), sharp=True)


@lru_cache(maxsize=16)
def _cylinder(sides: int) -> tuple[Array, Array, Array, Array, NDArray[np.int64]]:
    """Unit cylinder: position on the circle, height, the normal's wall and lid parts, faces."""
    circle, zero = ring(sides), np.zeros((1, 2))
    radial = np.concatenate([circle, circle, circle, zero, circle, zero])
    top = np.repeat([0.0, 1.0, 0.0, 1.0], [sides, sides, sides + 1, sides + 1])[:, None]
    wall = np.repeat([1.0, 0.0], [2 * sides, 2 * sides + 2])[:, None]
    lid = np.repeat([0.0, -1.0, 1.0], [2 * sides, sides + 1, sides + 1])[:, None]
    i, j = np.arange(sides), (np.arange(sides) + 1) % sides
    faces = [np.stack([i, j, sides + j], 1), np.stack([i, sides + j, sides + i], 1)]
    for start in (2 * sides, 3 * sides + 1):
        faces.append(np.stack([start + i, start + j, np.full(sides, start + sides)], 1))
    return radial, top, wall, lid, np.concatenate(faces)


def rod(
    start: Point, end: Point, radius: float, end_radius: float | None = None, *, sides: int = 12
) -> Solid:
    """A cylinder, or a frustum, or a cone, with its lids, from ``start`` to ``end``."""
    radial, top, wall, lid, faces = _cylinder(sides)
    tip = radius if end_radius is None else end_radius
    a, span = np.array(start), np.array(end) - np.array(start)
    length = math.sqrt(float((span * span).sum()))
    axis = span / length
    frame = aim(axis)
    out = radial[:, :1] * frame[:, 0] + radial[:, 1:] * frame[:, 2]
    vertices = a + top * span + (radius + (tip - radius) * top) * out
    normals = wall * (out + (radius - tip) / length * axis) + lid * axis
    return Solid(vertices, unit(normals), faces)


@lru_cache(maxsize=16)
def _sphere(low: float, high: float, sides: int) -> tuple[Array, NDArray[np.int64]]:
    count = max(4, round((high - low) * sides / (2 * math.pi)) + 1)
    latitude, circle = np.linspace(low, high, count), ring(sides)
    c, s = np.cos(latitude)[:, None], np.sin(latitude)[:, None]
    points = np.stack([c * circle[:, 0], s + 0 * circle[:, 0], c * circle[:, 1]], -1)
    return points.reshape(-1, 3), grid_faces((count, False, False), (sides, True, False))


def ellipsoid(
    radii: Point,
    at: Point = _ORIGIN,
    turn: Array | None = None,
    *,
    low: float = -math.pi / 2,
    high: float = math.pi / 2,
    sides: int = 16,
) -> Solid:
    """An ellipsoid, or its zone between two latitudes (``low=0.0`` is a dome)."""
    points, faces = _sphere(low, high, sides)
    vertices, normals = points * np.array(radii), unit(points / np.array(radii))
    if turn is not None:
        vertices, normals = rotate(vertices, turn), rotate(normals, turn)
    return Solid(vertices + np.array(at), normals, faces)


def revolve(
    profile: Points, at: Point = _ORIGIN, along: Point = _UP, *, sharp: bool = True, sides: int = 18
) -> Solid:
    """Surface of revolution of ``profile (M, 2)``, rows of (radius, height).

    The outside is to the right of the profile in its direction: outer walls go up, inner walls go
    down. ``sharp`` keeps the corners of the profile as creases.
    """
    line, circle = np.asarray(profile, dtype=np.float64), ring(sides)
    r, h = line[:, :1], line[:, 1:]
    points = np.stack([r * circle[:, 0], h + 0 * circle[:, 0], r * circle[:, 1]], -1)
    rows, columns = (len(line), False, sharp), (sides, True, False)
    vertices, normals = grid_surface(points, rows, columns)
    vertices, normals = vertices.reshape(-1, 3), normals.reshape(-1, 3)
    if along != _UP:
        frame = aim(unit(np.array(along)))
        vertices, normals = rotate(vertices, frame), rotate(normals, frame)
    return Solid(vertices + np.array(at), normals, grid_faces(rows, columns))


def sweep(
    path: Points,
    width: Amount,
    height: Amount | None = None,
    *,
    up: Point = _UP,
    power: float = 2.0,
    closed: bool = False,
    caps: bool = True,
    sides: int = 10,
) -> Solid:
    """A tube along ``path (M, 3)`` with superelliptic sections.

    Args:
        width: half-width, one number or one a point, across both the path and ``up``.
        height: half-height, towards ``up`` as far as the path allows; default ``width``.
        up: a direction that the path is nowhere parallel to.
        power: 2 for round sections, larger for boxier ones.
        closed: the path ends where it began (do not repeat the first point).
    """
    points = np.asarray(path, dtype=np.float64)
    line = grid_line(len(points), closed, False)
    tangent = points[line.ahead] - points[line.behind]
    side = unit(cross(np.array(up)[None], tangent))
    lift = unit(cross(tangent, side))
    section = ring(sides, power)
    half = np.asarray(width, dtype=np.float64).reshape(-1, 1)
    tall = half if height is None else np.asarray(height, dtype=np.float64).reshape(-1, 1)
    right, above = (half * section[:, 0])[..., None], (tall * section[:, 1])[..., None]
    sections = points[:, None] + right * side[:, None] + above * lift[:, None]
    return loft(sections, closed=closed, caps=caps)


def slab(left: Points, right: Points, thickness: Points | Point, *, smooth: bool = True) -> Solid:
    """A board between two edge curves ``(M, 3)``.

    Args:
        left, right: the curves.
        thickness: a vector, or one per row; half of it goes to either side.
        smooth: False creases the board at every row.
    """
    a, b = np.asarray(left, dtype=np.float64), np.asarray(right, dtype=np.float64)
    t = np.asarray(thickness, dtype=np.float64) / 2
    return loft(np.stack([a - t, b - t, b + t, a + t], 1), sharp=True, ridged=not smooth)


@lru_cache(maxsize=4)
def _lens(sides: int) -> tuple[Array, Array]:
    angle = np.arange(sides) * (2 * math.pi / sides)
    return (1 - np.cos(angle))[:, None] / 2, np.sin(angle)[:, None] / 2


def fin(lead: Points, trail: Points, thickness: Amount, normal: Point, *, sides: int = 12) -> Solid:
    """A wing: lens-shaped sections between a leading and a trailing edge ``(M, 3)``."""
    a, b = np.asarray(lead, dtype=np.float64), np.asarray(trail, dtype=np.float64)
    chord, lift = _lens(sides)
    thick = np.broadcast_to(np.asarray(thickness, dtype=np.float64), len(a))[:, None, None]
    sections = a[:, None] + chord * (b - a)[:, None] + thick * lift * np.array(normal)
    return loft(sections)


def wheel(at: Point, axle: Point, radius: float, width: float, hub: float = 0.6) -> Solid:
    """A tyre with a sunk hub; ``hub`` is the hub's share of the radius."""
    r, w, h = radius, width / 2, hub * radius
    side = [(0.0, -0.55 * w), (h, -0.55 * w), (h * 1.08, -w), (0.92 * r, -w), (r, -0.7 * w)]
    return revolve([*side, *((a, -b) for a, b in reversed(side))], at, axle)
