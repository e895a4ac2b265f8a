"""Single random primitives: their kinds, proportions and turns."""

import math

import numpy as np

from pointssl_datasets.procedural.csg import Body
from pointssl_datasets.procedural.dice import Dice
from pointssl_datasets.procedural.polyhedra import corners
from pointssl_datasets.procedural.revolution import turned
from pointssl_datasets.procedural.solids import Array, rotation

FLAT = tuple(corners())
# Plain shapes more often than rare ones; about as many round as flat.
KINDS = (
    *FLAT, "box", "box", "box", "wedge",
    *turned(), "cylinder", "cylinder", "sphere", "cone", "torus", "tube", "capsule", "dome",
)  # fmt: skip


def affine(d: Dice, low: float, high: float, shear: float) -> Array:
    """Scales between ``low`` and ``high``, evenly in their logarithm, then a shear."""
    matrix = np.diag([low * (high / low) ** d.between(0, 1) for _ in range(3)])
    slant = np.eye(3)
    slant[d.count(0, 2), :] += [d.between(-shear, shear) for _ in range(3)]
    return matrix @ slant


def proportions(d: Dice) -> Array:
    """A block, a plate, a rod, or three sizes at random."""
    long, thin = d.between(0.5, 1.0), d.between(0.06, 0.25)
    form = d.pick("block", "block", "plate", "rod", "any", "any", "any")
    if form == "block":
        sizes = [long, long, long]
    elif form == "plate":
        sizes = [long, thin, long * d.between(0.5, 1.0)]
    elif form == "rod":
        sizes = [thin * 1.4, 1.0, thin * 1.4]
    else:
        sizes = [0.2 * 5 ** d.between(0, 1) for _ in range(3)]
    return np.diag(sizes)


def square_turn(d: Dice) -> Array:
    """One of the turns that keep the axes."""
    quarter = math.pi / 2
    return np.round(rotation(d.count(0, 3) * quarter, d.count(0, 3) * quarter, d.pick(0, quarter)))


def any_turn(d: Dice) -> Array:
    return rotation(d.between(0, 6.3), math.asin(d.between(-1, 1)), d.between(0, 6.3))


def random_body(
    d: Dice, turn: Array, kinds: tuple[str, ...] = KINDS, at: Array | None = None
) -> Body:
    matrix = turn @ proportions(d)
    if d.chance(0.25):
        matrix = matrix @ affine(d, 0.8, 1.25, 0.6)
    return Body(d.pick(*kinds), matrix, np.zeros(3) if at is None else at)


def extent(body: Body) -> Array:
    """Half the size of the body's box along the axes ``(3,)``, a little too large if rounded."""
    rows = np.abs(body.matrix)
    if body.kind in FLAT:
        return np.asarray(rows.sum(axis=1))
    return np.asarray(np.sqrt(rows[:, 0] ** 2 + rows[:, 2] ** 2) + rows[:, 1])
