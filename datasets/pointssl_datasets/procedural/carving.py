"""What is taken away from a composition: holes drilled, pieces bitten off, sides sliced away."""

import math

import numpy as np

from pointssl_datasets.procedural.bodies import affine, any_turn
from pointssl_datasets.procedural.csg import Body, Step
from pointssl_datasets.procedural.dice import Dice
from pointssl_datasets.procedural.solids import aim, unit

_DRILLS = ("cylinder", "cylinder", "box", "prism3", "prism6", "prism5", "frustum")
_BITES = ("sphere", "sphere", "box", "cylinder", "cone", "torus", "wedge", "octahedron", "prism6")


def carved(steps: list[Step], d: Dice) -> list[Step]:
    """The steps with holes drilled, pieces bitten off or a side sliced away at their end."""
    bodies = [step for step in steps if isinstance(step, Body) and not step.cut]
    if not bodies:
        return steps
    bodies.sort(key=lambda body: -abs(float(np.linalg.det(body.matrix))))
    for _ in range(d.pick(1, 1, 1, 2, 3)):
        body = bodies[min(d.count(0, 2), len(bodies) - 1)]  # a large one, where it shows
        steps = steps + d.pick(drilled, drilled, drilled, _bitten, _bitten, _sliced)(body, d)
    return steps


def drilled(body: Body, d: Dice) -> list[Step]:
    """One hole through the middle along an axis of the body, or a row, grid or ring of them."""
    axis, wide = d.count(0, 2), d.between(0.3, 0.72)
    # The drill is written in the body's own frame, along its y axis, then turned to ``axis``.
    turn = aim(np.eye(3)[axis]) * 1.0
    form = d.pick("one", "one", "row", "ring", "grid")
    if form == "one":
        spots = [(0.0, 0.0)]
    elif form == "row":
        count = d.count(2, 4)
        spots = [(0.9 * ((2 * i + 1) / count - 1), 0.0) for i in range(count)]
        wide = d.between(0.4, 0.75) / count
    elif form == "grid":
        spots = [(x, z) for x in (-0.45, 0.45) for z in (-0.45, 0.45)]
        wide = d.between(0.15, 0.32)
    else:
        count = d.count(3, 6)
        angles = [2 * math.pi * i / count for i in range(count)]
        spots = [(0.62 * math.cos(a), 0.62 * math.sin(a)) for a in angles]
        wide = d.between(0.12, 0.26)
    kind, deep = d.pick(*_DRILLS), d.pick(1.3, 1.3, 1.0)
    lift = 0.0 if deep > 1 else d.between(0.3, 0.9)  # a blind hole
    flat = wide * d.pick(1.0, 1.0, d.between(0.5, 1.6))
    drill = np.diag([wide, deep, flat])
    return [
        Body(kind, body.matrix @ turn @ drill,
             body.at + body.matrix @ turn @ np.array([x, lift, z]), cut=True)
        for x, z in spots
    ]  # fmt: skip


def _bitten(body: Body, d: Dice) -> list[Step]:
    """A piece out of the side."""
    towards = unit(np.array([d.between(-1, 1) for _ in range(3)]))
    size = float(abs(np.linalg.det(body.matrix)) ** (1 / 3)) * d.between(0.4, 0.9)
    matrix = size * any_turn(d) @ affine(d, 0.7, 1.4, 0.2)
    at = body.at + body.matrix @ towards * d.between(0.6, 1.0)
    return [Body(d.pick(*_BITES), matrix, at, cut=True)]


def _sliced(body: Body, d: Dice) -> list[Step]:
    """What lies beyond a plane through the body, and beside it."""
    frame = aim(unit(np.array([d.between(-1, 1) for _ in range(3)])))
    if d.chance(0.5):
        frame = aim(np.eye(3)[d.count(0, 2)]) * d.pick(-1.0, 1.0)
    # Written in the body's own frame: points are drawn on the cutter's surface too, and on one
    # much larger than the body almost all of them would be drawn in vain.
    deep, reach = 1.2, d.between(0.0, 0.7)
    matrix = body.matrix @ frame @ np.diag([1.6, deep, 1.6])
    return [Body("box", matrix, body.at + body.matrix @ frame[:, 1] * (deep + reach), cut=True)]
