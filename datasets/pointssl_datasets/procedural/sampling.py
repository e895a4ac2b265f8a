"""From solids to points: sampling by area, deforming with normals, posing, removing a side."""

import math

import numpy as np
from numpy.typing import NDArray

from pointssl_datasets.procedural.randomness import Random
from pointssl_datasets.procedural.solids import (
    Array,
    Solid,
    cross,
    join,
    lengths,
    rotate,
    rotation,
    unit,
)

# A part with a smaller share of the surface is sampled as if it had this share, so that a trigger
# or a light bulb is not lost among 2048 points.
SMALLEST_SHARE = 0.015


def sample_surface(
    parts: list[tuple[int, Solid]], count: int, rng: np.random.Generator
) -> tuple[Array, Array, NDArray[np.int64]]:
    """Points drawn uniformly by area from labelled solids.

    Parts below :data:`SMALLEST_SHARE` of the area are raised to about that share.

    Returns:
        ``xyz (count, 3)``, unit ``normals (count, 3)``, ``part (count,)``.
    """
    surface = join(*(solid for _, solid in parts))
    sizes = [len(solid.faces) for _, solid in parts]
    labels = np.repeat(np.array([label for label, _ in parts]), sizes)
    a, b, c = (surface.vertices[surface.faces[:, k]] for k in range(3))
    doubled = cross(b - a, c - a)
    area = lengths(doubled)
    share = np.bincount(labels, area)
    raised = np.maximum(share, SMALLEST_SHARE * share.sum()) / np.maximum(share, 1e-300)
    cumulative = np.cumsum(area * raised[labels])
    draws = rng.random((3, count))
    face = np.searchsorted(cumulative, draws[0] * cumulative[-1], side="right")
    face = np.minimum(face, len(area) - 1)
    root = np.sqrt(draws[1])  # uniform in a triangle: Osada et al., Shape Distributions, 2002
    weights = (1 - root, root * (1 - draws[2]), root * draws[2])
    vertex = surface.faces[face]
    xyz, normals = np.zeros((count, 3)), np.zeros((count, 3))
    for k, weight in enumerate(weights):
        xyz += surface.vertices[vertex[:, k]] * weight[:, None]
        normals += surface.normals[vertex[:, k]] * weight[:, None]
    return xyz, unit(normals), labels[face]


def warp(
    xyz: Array, normals: Array, axis: int, *, taper: float, twist: float, bend: float
) -> tuple[Array, Array]:
    """Taper, twist and bend along one axis (Barr, Global and local deformations, 1984).

    With t the coordinate along ``axis`` and q the other two, q becomes
    ``(1 + taper t) R(twist t) q + (bend t^2, 0)``; t stays. Normals follow the inverse transpose of
    the Jacobian, which has a closed form because t is untouched.

    Args:
        xyz: points ``(N, 3)`` with ``|taper t| < 1``.
        normals: unit normals ``(N, 3)``.
        twist: radians per unit of length.
    """
    i, j = (axis + 1) % 3, (axis + 2) % 3
    t, a, b = xyz[:, axis], xyz[:, i], xyz[:, j]
    grow, c, s = 1 + taper * t, np.cos(twist * t), np.sin(twist * t)
    turned_a, turned_b = c * a - s * b, s * a + c * b
    moved, bent = xyz.copy(), normals.copy()
    moved[:, i] = grow * turned_a + bend * t * t
    moved[:, j] = grow * turned_b
    bent[:, i] = (c * normals[:, i] - s * normals[:, j]) / grow
    bent[:, j] = (s * normals[:, i] + c * normals[:, j]) / grow
    along_i = taper * turned_a - twist * grow * turned_b + 2 * bend * t
    along_j = taper * turned_b + twist * grow * turned_a
    bent[:, axis] = normals[:, axis] - along_i * bent[:, i] - along_j * bent[:, j]
    return moved, unit(bent)


def centre_and_scale(xyz: Array) -> Array:
    """Points shifted by the centre of their bounding box and scaled into the unit sphere."""
    columns = np.ascontiguousarray(xyz.T)  # reducing over rows of three would be slow
    xyz = xyz - (columns.max(1) + columns.min(1)) / 2
    return xyz / float(lengths(xyz).max())


def deform(xyz: Array, normals: Array, rng: Random) -> tuple[Array, Array]:
    """A mild random stretch, taper, twist and bend of a shape in the unit sphere.

    Half of the shapes are mirrored first.
    """
    factors = np.array([rng.uniform(0.8, 1.25) for _ in range(3)])
    factors[0] *= rng.choice(-1.0, 1.0)
    xyz, normals = xyz * factors, unit(normals / factors)
    for axis in (rng.integer(0, 2), rng.integer(0, 2)):
        xyz, normals = warp(
            xyz,
            normals,
            axis,
            taper=rng.uniform(-0.2, 0.2),
            twist=rng.uniform(-0.3, 0.3),
            bend=rng.uniform(-0.15, 0.15),
        )
    return xyz, normals


def pose(xyz: Array, normals: Array, rng: Random) -> tuple[Array, Array]:
    """A random rotation about y, then a tilt of up to 30 degrees in a random direction."""
    heading, tilt, side = (
        rng.uniform(0, 2 * math.pi),
        math.pi / 6 * rng.uniform(0, 1),
        rng.uniform(0, 2 * math.pi),
    )
    turn = rotate(rotation(x=tilt).T, rotation(y=side)).T  # rotation(y=side) @ rotation(x=tilt)
    turn = rotate(rotation(y=heading).T, turn).T
    return rotate(xyz, turn), rotate(normals, turn)


def missing_side(xyz: Array, share: float, rng: Random) -> NDArray[np.bool_]:
    """Mask of the points that remain when a random half-space removes ``share`` of them."""
    height, angle = rng.uniform(-1, 1), rng.uniform(0, 2 * math.pi)
    flat = math.sqrt(1 - height * height)
    towards = (
        xyz[:, 0] * (flat * math.cos(angle))
        + xyz[:, 1] * height
        + xyz[:, 2] * (flat * math.sin(angle))
    )
    keep = np.zeros(len(xyz), dtype=bool)
    keep[np.argsort(towards, kind="stable")[: len(xyz) - round(share * len(xyz))]] = True
    return keep
