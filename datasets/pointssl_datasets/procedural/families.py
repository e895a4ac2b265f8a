"""The three families of solids: solids of revolution, convex polyhedra, and rods.

A family has all solids of its kind in a composition, as a few large arrays:

    area    (C,)  of the cells that its surfaces are divided into: triangles, patches, rods
    member  (C,)  number of the solid that a cell belongs to
    points(cell, u, v)   points on those cells and their normals, for uniform u and v
    inside(xyz)          (solids, N): whether the points, as columns (3, N), are inside each solid
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pointssl_datasets.procedural import revolution as col
from pointssl_datasets.procedural.polyhedra import polyhedron
from pointssl_datasets.procedural.revolution import revolution_solids
from pointssl_datasets.procedural.solids import Array, aim, cross, lengths, rotate, unit

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]

_SKIN = 1e-6  # of its radius: how deep in a rod a point must be to count as inside


class Body(NamedTuple):
    """A primitive of :func:`revolution_solids` or :func:`polyhedron`, at ``matrix @ p + at``."""

    kind: str
    matrix: Array  # (3, 3), invertible
    at: Array  # (3,)
    cut: bool = False


class Wire(NamedTuple):
    """Round rods of one radius along ``edges (E, 2)`` between ``nodes (V, 3)``, with balls at the
    nodes."""

    nodes: Array
    edges: Ints
    radius: float
    cut: bool = False


class _Placed:
    """The affine maps of a family's bodies, their inverses, and how they change areas."""

    def __init__(self, bodies: list[Body]) -> None:
        self.matrix = np.stack([body.matrix for body in bodies])
        self.at = np.stack([body.at for body in bodies])
        a, b, c = self.matrix[:, :, 0], self.matrix[:, :, 1], self.matrix[:, :, 2]
        # Areas and normals change by the cofactors: det(A) times the inverse transpose.
        self.cofactor = np.stack([cross(b, c), cross(c, a), cross(a, b)], axis=-1)
        volume = (a * self.cofactor[:, :, 0]).sum(axis=1)
        self.inverse = self.cofactor.transpose(0, 2, 1) / volume[:, None, None]
        self.side = np.sign(volume)  # a mirrored body has its normals the other way round


class Round(_Placed):
    """Solids of revolution."""

    def __init__(self, bodies: list[Body]) -> None:
        super().__init__(bodies)
        kinds = [revolution_solids()[body.kind] for body in bodies]
        self.cells = np.concatenate([kind.cells for kind in kinds])
        sizes = [len(kind.cells) for kind in kinds]
        self.member = np.repeat(np.arange(len(kinds)), sizes)
        normals = self.cells[:, col.NX : col.AREA]
        self.area = self.cells[:, col.AREA] * lengths(_apply(self.cofactor[self.member], normals))
        self.lines = np.stack([kind.lines for kind in kinds])[:, :, :, None]
        self.round = np.stack([kind.round for kind in kinds])[:, :, None]

    def points(self, cell: Ints, u: Array, v: Array) -> tuple[Array, Array]:
        c = self.cells[cell].T
        # Uniform by area between two circles of radius R0 and R1: r^2 is uniform.
        u = 1 - u
        root = np.sqrt(c[col.R0] ** 2 + u * (c[col.R1] ** 2 - c[col.R0] ** 2))
        s = u * (c[col.R0] + c[col.R1]) / (c[col.R0] + root)
        theta, phi = c[col.THETA] + s * c[col.DTHETA], c[col.PHI] + v * c[col.DPHI]
        out, up = np.cos(theta), np.sin(theta)
        r = c[col.CR] + s * c[col.DR] + c[col.RHO] * out
        y = c[col.CY] + s * c[col.DY] + c[col.RHO] * up
        across, deep = np.cos(phi), np.sin(phi)
        local = np.stack([r * across, y, r * deep], axis=-1)
        normal = np.stack([out * across, up, out * deep], axis=-1)
        body = self.member[cell]
        xyz = _apply(self.matrix[body], local) + self.at[body]
        normal = _apply(self.cofactor[body], normal) * self.side[body, None]
        return xyz, unit(normal)

    def inside(self, xyz: Array) -> Bools:
        shift = -(self.inverse @ self.at[:, :, None])
        x, y, z = (self.inverse @ xyz + shift).transpose(1, 0, 2)  # each (bodies, N)
        r = np.sqrt(x * x + z * z)
        centre, middle, half, rho = self.round.transpose(1, 0, 2)
        off, rise = r - centre, np.maximum(np.abs(y - middle) - half, 0)
        within: Bools = off * off + rise * rise < rho * rho
        for a, b, c in self.lines.transpose(1, 2, 0, 3):
            if (c < 1e5).any():
                within &= a * r + b * y < c
        return within


class Flat(_Placed):
    """Convex polyhedra."""

    def __init__(self, bodies: list[Body]) -> None:
        super().__init__(bodies)
        kinds = [polyhedron(body.kind) for body in bodies]
        faces = [len(kind.triangles) for kind in kinds]
        self.member = np.repeat(np.arange(len(kinds)), faces)
        corners = np.concatenate([kind.corners[kind.triangles] for kind in kinds])  # (T, 3, 3)
        placed = _apply(self.matrix[self.member][:, None], corners) + self.at[self.member][:, None]
        self.start, first, second = placed[:, 0], placed[:, 1], placed[:, 2]
        self.first, self.second = first - self.start, second - self.start
        normals = cross(self.first, self.second) * self.side[self.member, None]
        self.normals = unit(normals)
        self.area = lengths(normals) / 2
        counts = [len(kind.planes) for kind in kinds]
        of = np.repeat(np.arange(len(kinds)), counts)
        planes = np.concatenate([kind.planes for kind in kinds])
        slopes = _apply(self.inverse[of].transpose(0, 2, 1), planes[:, :3])
        self.slopes = slopes
        self.offsets = planes[:, 3] - (slopes * self.at[of]).sum(axis=1)
        self.starts = np.cumsum([0, *counts[:-1]])

    def points(self, cell: Ints, u: Array, v: Array) -> tuple[Array, Array]:
        root = np.sqrt(u)[:, None]  # uniform in a triangle: Osada et al., Shape Distributions, 2002
        v = v[:, None]
        xyz = self.start[cell] + root * ((1 - v) * self.first[cell] + v * self.second[cell])
        return xyz, self.normals[cell]

    def inside(self, xyz: Array) -> Bools:
        height = self.slopes @ xyz
        height += self.offsets[:, None]
        within: Bools = np.maximum.reduceat(height, self.starts, axis=0) < 0
        return within


class Wires:
    """Rods, and the balls where they meet."""

    def __init__(self, wires: list[Wire]) -> None:
        radii = np.array([wire.radius for wire in wires])
        rods = [len(wire.edges) for wire in wires]
        balls = [len(wire.nodes) for wire in wires]
        self.rod_of = np.repeat(np.arange(len(wires)), rods)
        self.member = np.concatenate([self.rod_of, np.repeat(np.arange(len(wires)), balls)])
        self.radius = radii[self.member]
        self.start = np.concatenate([wire.nodes[wire.edges[:, 0]] for wire in wires])
        self.span = np.concatenate([wire.nodes[wire.edges[:, 1]] for wire in wires]) - self.start
        length = lengths(self.span)
        self.frames = np.stack([aim(axis) for axis in unit(self.span)])  # (E, 3, 3)
        self.nodes = np.concatenate([wire.nodes for wire in wires])
        around = 2 * np.pi * self.radius[: len(length)] * length
        self.area = np.concatenate([around, 4 * np.pi * self.radius[len(length) :] ** 2])
        self.starts = np.cumsum([0, *rods[:-1]])

    def points(self, cell: Ints, u: Array, v: Array) -> tuple[Array, Array]:
        count = len(self.start)
        on_rod = cell < count
        rod, ball = np.minimum(cell, count - 1), np.maximum(cell - count, 0)
        angle = 2 * np.pi * v
        # On a rod u is the position along it; on a ball the height, uniform by area (Archimedes).
        height = np.where(on_rod, 0.0, 2 * u - 1)
        flat = np.sqrt(1 - height * height)
        normal = np.stack([flat * np.cos(angle), height, flat * np.sin(angle)], axis=-1)
        turned_normal = _apply(self.frames[rod], normal)
        normal = np.where(on_rod[:, None], turned_normal, normal)
        foot = np.where(
            on_rod[:, None], self.start[rod] + u[:, None] * self.span[rod], self.nodes[ball]
        )
        return foot + self.radius[cell][:, None] * normal, normal

    def inside(self, xyz: Array) -> Bools:
        length2 = (self.span * self.span).sum(axis=1)[:, None]
        along = (self.span @ xyz - (self.span * self.start).sum(axis=1)[:, None]) / length2
        np.clip(along, 0, 1, out=along)
        away = np.zeros_like(along)
        for k in range(3):
            step = along * self.span[:, k, None]
            step += self.start[:, k, None]
            step -= xyz[k]
            step *= step
            away += step
        bound = (self.radius[: len(self.start)] * (1 - _SKIN)) ** 2
        away -= bound[:, None]
        within: Bools = np.minimum.reduceat(away, self.starts, axis=0) < 0
        return within


def _apply(matrices: Array, vectors: Array) -> Array:
    """``matrices (..., 3, 3) @ vectors (..., 3)`` without BLAS, which may change the last bit."""
    if matrices.ndim == 2:
        return rotate(vectors, matrices)
    x, y, z = vectors[..., 0, None], vectors[..., 1, None], vectors[..., 2, None]
    placed: Array = matrices[..., 0] * x + matrices[..., 1] * y + matrices[..., 2] * z
    return placed
