"""Single random primitives: their kinds, proportions and rotations."""

import math

import numpy as np

from pointssl_datasets.procedural.csg import Body
from pointssl_datasets.procedural.polyhedra import corners
from pointssl_datasets.procedural.randomness import Random
from pointssl_datasets.procedural.revolution import revolution_solids
from pointssl_datasets.procedural.solids import Array, rotation

FLAT = tuple(corners())
# Plain shapes are more frequent than rare ones, and round ones about as frequent as flat ones.
KINDS = (
    *FLAT, "box", "box", "box", "wedge",
    *revolution_solids(), "cylinder", "cylinder", "sphere", "cone", "torus", "tube", "capsule",
    "dome",
)  # fmt: skip


def affine(rng: Random, low: float, high: float, shear: float) -> Array:
    """A shear, then log-uniform scales between ``low`` and ``high``."""
    matrix = np.diag([low * (high / low) ** rng.uniform(0, 1) for _ in range(3)])
    slant = np.eye(3)
    slant[rng.integer(0, 2), :] += [rng.uniform(-shear, shear) for _ in range(3)]
    return matrix @ slant


def proportions(rng: Random) -> Array:
    """The proportions of a block, a plate or a rod, or three random sizes."""
    long, thin = rng.uniform(0.5, 1.0), rng.uniform(0.06, 0.25)
    form = rng.choice("block", "block", "plate", "rod", "any", "any", "any")
    if form == "block":
        sizes = [long, long, long]
    elif form == "plate":
        sizes = [long, thin, long * rng.uniform(0.5, 1.0)]
    elif form == "rod":
        sizes = [thin * 1.4, 1.0, thin * 1.4]
    else:
        sizes = [0.2 * 5 ** rng.uniform(0, 1) for _ in range(3)]
    return np.diag(sizes)


def axis_rotation(rng: Random) -> Array:
    """One of the rotations that map the axes to the axes."""
    quarter = math.pi / 2
    return np.round(
        rotation(rng.integer(0, 3) * quarter, rng.integer(0, 3) * quarter, rng.choice(0, quarter))
    )


def random_rotation(rng: Random) -> Array:
    return rotation(rng.uniform(0, 6.3), math.asin(rng.uniform(-1, 1)), rng.uniform(0, 6.3))


def random_body(
    rng: Random, turn: Array, kinds: tuple[str, ...] = KINDS, at: Array | None = None
) -> Body:
    matrix = turn @ proportions(rng)
    if rng.chance(0.25):
        matrix = matrix @ affine(rng, 0.8, 1.25, 0.6)
    return Body(rng.choice(*kinds), matrix, np.zeros(3) if at is None else at)


def extent(body: Body) -> Array:
    """Half the size of the bounding box ``(3,)``; slightly too large for round bodies."""
    rows = np.abs(body.matrix)
    if body.kind in FLAT:
        return np.asarray(rows.sum(axis=1))
    return np.asarray(np.sqrt(rows[:, 0] ** 2 + rows[:, 2] ** 2) + rows[:, 1])
