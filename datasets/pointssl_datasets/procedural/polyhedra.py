"""Convex polyhedra from their corners alone; planes, triangles and edges by exhaustive search."""

import itertools
import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pointssl_datasets.procedural.solids import Array, cross


class Polyhedron(NamedTuple):
    """``planes (P, 4)``: a point is inside where ``planes @ (x, y, z, 1)`` is all negative."""

    corners: Array  # (V, 3)
    planes: Array  # (P, 4), the first three a unit vector that points out
    triangles: NDArray[np.int64]  # (T, 3), counter-clockwise seen from outside
    plane_of: NDArray[np.int64]  # (T,)
    edges: NDArray[np.int64]  # (E, 2)


@lru_cache(maxsize=1)
def corners() -> dict[str, Array]:
    """Corners ``(V, 3)`` by name, each polyhedron within the cube from -1 to 1."""
    golden = (1 + math.sqrt(5)) / 2
    cube = list(itertools.product((-1.0, 1.0), repeat=3))
    ico: list[tuple[float, ...]] = [(0.0, a, b * golden) for a in (-1, 1) for b in (-1, 1)]
    ico = [p[k:] + p[:k] for p in ico for k in range(3)]
    dodeca: list[tuple[float, ...]] = [
        (0.0, a / golden, b * golden) for a in (-1, 1) for b in (-1, 1)
    ]
    dodeca = [p[k:] + p[:k] for p in dodeca for k in range(3)] + cube
    square = [(-1, -1, -1), (-1, -1, 1), (1, -1, -1), (1, -1, 1)]
    named: dict[str, Sequence[tuple[float, ...]]] = {
        "box": cube,
        "wedge": [*square, (-1, 1, -1), (-1, 1, 1)],
        "roof": [*square, (0, 1, -1), (0, 1, 1)],
        "hip": [*square, (-0.5, 1, 0), (0.5, 1, 0)],
        "pyramid": [*square, (0, 1, 0)],
        "block": [*square, *((x * 0.6, 1, z * 0.6) for x in (-1, 1) for z in (-1, 1))],
        "trapezium": [*square, *((x * 0.5, 1, z) for x in (-1, 1) for z in (-1, 1))],
        "corner": [(-1, -1, -1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1)],
        "tetrahedron": [(1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1)],
        "octahedron": [(1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)],
        "prism3": _prism(3),
        "prism5": _prism(5),
        "prism6": _prism(6),
        "prism8": _prism(8),
        "antiprism": _prism(4, turn=math.pi / 4),
        "icosahedron": [tuple(c / golden for c in p) for p in ico],
        "dodecahedron": [tuple(c / golden for c in p) for p in dodeca],
    }
    return {name: np.array(points, dtype=np.float64) for name, points in named.items()}


def _prism(sides: int, turn: float = 0.0) -> list[tuple[float, float, float]]:
    angles = [2 * math.pi * i / sides for i in range(sides)]
    low = [(math.cos(a), -1.0, math.sin(a)) for a in angles]
    return low + [(math.cos(a + turn), 1.0, math.sin(a + turn)) for a in angles]


@lru_cache(maxsize=64)
def polyhedron(name: str) -> Polyhedron:
    """The convex hull of ``corners()[name]``: every plane through three corners is tried."""
    points = corners()[name]
    faces: dict[tuple[int, ...], Array] = {}  # corners on the plane -> the plane
    for triple in itertools.combinations(range(len(points)), 3):
        a, b, c = points[list(triple)]
        normal = cross(b - a, c - a)
        length = math.sqrt(float((normal * normal).sum()))
        if length < 1e-9:
            continue
        height = (points - a) @ (normal / length)
        if height.max() > 1e-9 and height.min() < -1e-9:
            continue  # corners on both sides: no face
        out = normal / length * (1.0 if height.max() < 1e-9 else -1.0)
        on = tuple(np.flatnonzero(np.abs(height) < 1e-9).tolist())
        faces.setdefault(on, np.array([*out, -float(out @ a)]))
    triangles, plane_of = [], []
    edges: set[tuple[int, int]] = set()
    for number, (on, plane) in enumerate(faces.items()):
        around = _around(points, list(on), plane[:3])
        triangles += [(around[0], p, q) for p, q in itertools.pairwise(around[1:])]
        plane_of += [number] * (len(around) - 2)
        edges |= {(min(p, q), max(p, q)) for p, q in itertools.pairwise([*around, around[0]])}
    return Polyhedron(
        points,
        np.array(list(faces.values())),
        np.array(triangles),
        np.array(plane_of),
        np.array(sorted(edges)),
    )


def _around(points: Array, on: list[int], normal: Array) -> list[int]:
    """The corners of a face, counter-clockwise seen against ``normal``."""
    centre = points[on].mean(axis=0)
    first = points[on[0]] - centre
    second = cross(normal, first)
    angle = {i: math.atan2((points[i] - centre) @ second, (points[i] - centre) @ first) for i in on}
    return sorted(on, key=lambda i: round(angle[i], 9))
