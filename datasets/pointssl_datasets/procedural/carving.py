"""What is cut out of a composition: holes drilled, pieces bitten off, sides sliced away."""

import math

import numpy as np

from pointssl_datasets.procedural.bodies import affine, random_rotation
from pointssl_datasets.procedural.csg import Body, Step
from pointssl_datasets.procedural.randomness import Random
from pointssl_datasets.procedural.solids import aim, unit

_DRILLS = ("cylinder", "cylinder", "box", "prism3", "prism6", "prism5", "frustum")
_BITES = ("sphere", "sphere", "box", "cylinder", "cone", "torus", "wedge", "octahedron", "prism6")


def carve(steps: list[Step], rng: Random) -> list[Step]:
    """The steps, followed by one to three kinds of cuts: holes, bites or slices."""
    bodies = [step for step in steps if isinstance(step, Body) and not step.cut]
    if not bodies:
        return steps
    bodies.sort(key=lambda body: -abs(float(np.linalg.det(body.matrix))))
    for _ in range(rng.choice(1, 1, 1, 2, 3)):
        body = bodies[min(rng.integer(0, 2), len(bodies) - 1)]  # a large one, where it shows
        steps = steps + rng.choice(drill, drill, drill, _bite, _bite, _slice)(body, rng)
    return steps


def drill(body: Body, rng: Random) -> list[Step]:
    """A hole through the middle along an axis of the body, or a row, grid or ring of holes."""
    axis, wide = rng.integer(0, 2), rng.uniform(0.3, 0.72)
    # The drill is defined in the body's own frame, along its y axis, then turned to ``axis``.
    turn = aim(np.eye(3)[axis]) * 1.0
    form = rng.choice("one", "one", "row", "ring", "grid")
    if form == "one":
        spots = [(0.0, 0.0)]
    elif form == "row":
        count = rng.integer(2, 4)
        spots = [(0.9 * ((2 * i + 1) / count - 1), 0.0) for i in range(count)]
        wide = rng.uniform(0.4, 0.75) / count
    elif form == "grid":
        spots = [(x, z) for x in (-0.45, 0.45) for z in (-0.45, 0.45)]
        wide = rng.uniform(0.15, 0.32)
    else:
        count = rng.integer(3, 6)
        angles = [2 * math.pi * i / count for i in range(count)]
        spots = [(0.62 * math.cos(a), 0.62 * math.sin(a)) for a in angles]
        wide = rng.uniform(0.12, 0.26)
    kind, deep = rng.choice(*_DRILLS), rng.choice(1.3, 1.3, 1.0)
    lift = 0.0 if deep > 1 else rng.uniform(0.3, 0.9)  # a blind hole
    flat = wide * rng.choice(1.0, 1.0, rng.uniform(0.5, 1.6))
    drill = np.diag([wide, deep, flat])
    return [
        Body(kind, body.matrix @ turn @ drill,
             body.at + body.matrix @ turn @ np.array([x, lift, z]), cut=True)
        for x, z in spots
    ]  # fmt: skip


def _bite(body: Body, rng: Random) -> list[Step]:
    """A piece bitten out of the side."""
    towards = unit(np.array([rng.uniform(-1, 1) for _ in range(3)]))
    size = float(abs(np.linalg.det(body.matrix)) ** (1 / 3)) * rng.uniform(0.4, 0.9)
    matrix = size * random_rotation(rng) @ affine(rng, 0.7, 1.4, 0.2)
    at = body.at + body.matrix @ towards * rng.uniform(0.6, 1.0)
    return [Body(rng.choice(*_BITES), matrix, at, cut=True)]


def _slice(body: Body, rng: Random) -> list[Step]:
    """A side sliced away along a plane through the body."""
    frame = aim(unit(np.array([rng.uniform(-1, 1) for _ in range(3)])))
    if rng.chance(0.5):
        frame = aim(np.eye(3)[rng.integer(0, 2)]) * rng.choice(-1.0, 1.0)
    # In the body's own frame: points are drawn on the cutter's surface too, and on one much larger
    # than the body almost all of them would be wasted.
    deep, reach = 1.2, rng.uniform(0.0, 0.7)
    matrix = body.matrix @ frame @ np.diag([1.6, deep, 1.6])
    return [Body("box", matrix, body.at + body.matrix @ frame[:, 1] * (deep + reach), cut=True)]
