"""Random compositions: primitives in heaps, stacks, rings and rows, mirrored, wired and cut.

They follow Chen et al., Learning 3D Representations from Procedural 3D Programs (arXiv
2411.17467), where 150,000 compositions of 1 to 9 primitives with affine maps, cut-outs and
wireframes pretrain as well as ShapeNet. Beyond that, most of ours have a symmetry or a direction,
as designed things do.
"""

import math
from collections.abc import Callable

import numpy as np

from pointssl_datasets.procedural.bodies import (
    affine,
    axis_rotation,
    extent,
    random_body,
    random_rotation,
)
from pointssl_datasets.procedural.carving import carve, drill
from pointssl_datasets.procedural.csg import Body, Step, Wire, transformed
from pointssl_datasets.procedural.randomness import Random
from pointssl_datasets.procedural.solids import Array, rotation, unit
from pointssl_datasets.procedural.wires import wire

MOST = 24  # steps of a composition, copies included

_LATHE = ("cylinder", "frustum", "stump", "cone", "spindle", "tube", "sphere", "torus", "dome",
          "capsule", "prism6", "prism8", "box", "block")  # fmt: skip
_HOLLOW = ("box", "cylinder", "frustum", "stump", "sphere", "dome", "prism6", "prism8", "prism5",
           "block", "capsule", "trapezium", "roof")  # fmt: skip


def compose(rng: Random) -> list[Step]:
    """The steps of one random composition, turned about y; some lie on a side or at any angle."""
    layouts: tuple[Callable[[Random], list[Step]], ...] = (
        _heap, _heap, _joined, _joined, _stack, _stack, _mirrored, _mirrored, _ring, _ring, _rows,
        _framework, _framework, _shell, _shell,
    )  # fmt: skip
    layout = rng.choice(*layouts)
    steps = layout(rng)[:MOST]
    if rng.chance(0.65):
        steps = carve(steps, rng)
    matrix = _pose(rng)
    if rng.chance(0.4):
        matrix = matrix @ affine(rng, 0.65, 1.5, 0.3)
    return _grow([transformed(step, matrix, np.zeros(3)) for step in steps])


def _grow(steps: list[Step]) -> list[Step]:
    """The steps, each very slightly larger than the one before.

    Overlapping copies share planes, and of two surfaces in the same place neither is inside the
    other. After this, one is.
    """
    grown: list[Step] = []
    for number, step in enumerate(steps, start=1):
        grow = 1 + 1e-3 * number / len(steps)
        if isinstance(step, Body):
            grown.append(step._replace(matrix=step.matrix * grow))
        else:
            grown.append(step._replace(radius=step.radius * grow))
    return grown


def _pose(rng: Random) -> Array:
    heading = rotation(y=rng.uniform(0, 2 * math.pi))
    if rng.chance(0.25):
        return rotation(x=rng.uniform(0, 2 * math.pi)) @ heading @ rotation(z=rng.uniform(0, 6.3))
    return heading @ rng.choice(np.eye(3), np.eye(3), rotation(z=math.pi / 2), rotation(x=math.pi))


def _heap(rng: Random) -> list[Step]:
    """Bodies at random angles, each growing out of an earlier one."""
    bodies = [random_body(rng, random_rotation(rng))]
    for _ in range(rng.choice(0, 1, 2, 2, 3, 3, 4, 5, 6, 8)):
        onto = rng.choice(*bodies)
        towards = unit(np.array([rng.uniform(-1, 1) for _ in range(3)]))
        small = rng.uniform(0.35, 1.0)
        new = random_body(
            rng, random_rotation(rng), at=onto.at + onto.matrix @ towards * rng.uniform(0.6, 1.0)
        )
        bodies.append(new._replace(matrix=new.matrix * small))
    return list(bodies)


def _joined(rng: Random) -> list[Step]:
    """Bodies parallel to the axes, each against a side of an earlier one."""
    return list(_assembly(rng, rng.integer(2, 8)))


def _assembly(rng: Random, count: int) -> list[Body]:
    bodies = [random_body(rng, axis_rotation(rng))]
    while len(bodies) < count:
        onto = rng.choice(*bodies)
        small = rng.uniform(0.35, 1.0)
        new = random_body(rng, axis_rotation(rng))
        new = new._replace(matrix=new.matrix * small)
        axis, sign = rng.integer(0, 2), rng.choice(-1.0, 1.0)
        at = onto.at.copy()
        at[axis] += sign * (extent(onto)[axis] + extent(new)[axis]) * rng.uniform(0.6, 0.95)
        slide = (axis + rng.integer(1, 2)) % 3  # flush with an edge, or in the middle
        spare = extent(onto)[slide] - extent(new)[slide]
        at[slide] += spare * rng.choice(-1.0, 0.0, 0.0, 0.0, 1.0, rng.uniform(-1, 1)) * 0.97
        bodies.append(new._replace(at=at))
    return bodies


def _stack(rng: Random) -> list[Step]:
    """Bodies on one axis, as if turned on a lathe: towers, lamps, vases, screws."""
    steps: list[Step] = []
    top, slim = 0.0, rng.uniform(0.3, 1.0)
    for _ in range(rng.integer(2, 8)):
        kind = rng.choice(*_LATHE)
        tall, wide = 0.08 * 8 ** rng.uniform(0, 1), slim * 0.2 * 5 ** rng.uniform(0, 1)
        if kind == "sphere":
            tall = wide * rng.uniform(0.6, 1.1)
        flip = rng.choice(1.0, 1.0, -1.0)
        reach = {"torus": 0.32, "dome": 0.5}.get(kind, 1.0)
        matrix = np.diag([wide, tall * flip, wide])
        top += reach * tall * rng.uniform(0.75, 0.98)
        steps.append(Body(kind, matrix, np.array([0.0, top, 0.0])))
        top += reach * tall * rng.uniform(0.75, 0.98)
    return steps


def _mirrored(rng: Random) -> list[Step]:
    """A middle, and a few bodies mirrored on either side of it."""
    turn = random_rotation if rng.chance(0.3) else axis_rotation
    middle = [random_body(rng, axis_rotation(rng)) for _ in range(rng.integer(1, 2))]
    middle[0] = middle[0]._replace(matrix=middle[0].matrix * 1.1)
    if len(middle) == 2:
        shift = np.array([0.0, rng.uniform(-0.8, 0.8), rng.uniform(-0.8, 0.8)])
        middle[1] = middle[1]._replace(at=shift, matrix=middle[1].matrix * rng.uniform(0.4, 0.9))
    steps: list[Step] = list(middle)
    mirror = np.diag([-1.0, 1.0, 1.0])
    onto: Body = middle[0]
    for _ in range(rng.integer(1, 4)):
        new = random_body(rng, turn(rng))
        new = new._replace(matrix=new.matrix * rng.uniform(0.3, 0.85))
        out = abs(onto.at[0]) + (extent(onto)[0] + extent(new)[0]) * rng.uniform(0.5, 0.9)
        away = extent(onto) * [0.0, rng.uniform(-0.6, 0.6), rng.uniform(-0.6, 0.6)]
        new = new._replace(at=onto.at * [0, 1, 1] + away + [out, 0, 0])
        steps += [new, transformed(new, mirror, np.zeros(3))]
        onto = new if rng.chance(0.4) else middle[0]
    return steps


def _ring(rng: Random) -> list[Step]:
    """A hub with copies of one or two bodies around it: wheels, flowers, fans, gears."""
    copies = rng.integer(3, 9)
    hub = random_body(rng, np.eye(3), _LATHE)
    wide = rng.uniform(0.25, 0.8)
    hub = hub._replace(matrix=np.diag([wide, rng.uniform(0.08, 0.7), wide]))
    steps: list[Step] = [hub]
    out = wide * rng.uniform(0.6, 0.95)
    for _ in range(rng.choice(1, 1, 2)):
        arm = random_body(rng, axis_rotation(rng) if rng.chance(0.6) else random_rotation(rng))
        arm = arm._replace(matrix=arm.matrix * rng.uniform(0.2, 0.7))
        rise = rng.uniform(-0.4, 0.4) * float(hub.matrix[1, 1]) if rng.chance(0.5) else 0.0
        start = np.array([out + extent(arm)[0] * rng.uniform(0.4, 0.85), rise, 0.0])
        for i in range(copies):
            turn = rotation(y=2 * math.pi * i / copies)
            steps.append(transformed(arm._replace(at=start), turn, np.zeros(3)))
        out += extent(arm)[0] * 1.2
    if rng.chance(0.35):
        rim = np.diag([out * 1.1, rng.uniform(0.1, 0.3), out * 1.1])
        steps.append(Body(rng.choice("ring", "pipe", "torus"), rim, np.zeros(3)))
    return steps


def _rows(rng: Random) -> list[Step]:
    """A plate or beam with a row or grid of equal bodies: tables, combs, shelves, racks."""
    columns, rows = rng.choice(
        (2, 2), (2, 2), (3, 1), (4, 1), (6, 1), (8, 1), (3, 2), (4, 2), (3, 3)
    )
    wide, deep = (
        rng.uniform(0.7, 1.0),
        rng.uniform(0.3, 0.8) if rows > 1 else rng.uniform(0.12, 0.4),
    )
    plate = Body(rng.choice("box", "box", "cylinder", "prism6", "trapezium"),
                 np.diag([wide, rng.uniform(0.04, 0.2), deep]), np.zeros(3))  # fmt: skip
    steps: list[Step] = [plate]
    one = random_body(rng, np.eye(3) if rng.chance(0.7) else axis_rotation(rng))
    cell = np.array([wide / columns, rng.uniform(0.2, 0.9), deep / rows])
    # Each copy fits its place, with a gap.
    size = extent(one)
    fit = np.diag(
        np.minimum(cell / size, 3.0) * [rng.uniform(0.3, 0.9), 1.0, rng.uniform(0.3, 0.9)]
    )
    one = one._replace(matrix=fit @ one.matrix)
    side = rng.choice(-1.0, 1.0)
    inset = rng.uniform(0.8, 1.0) if plate.kind in ("box", "trapezium") else 0.66
    y = side * (plate.matrix[1, 1] + extent(one)[1]) * 0.93
    for i in range(columns):
        for j in range(rows):
            x = inset * wide * ((2 * i + 1) / columns - 1)
            z = inset * deep * ((2 * j + 1) / rows - 1)
            steps.append(one._replace(at=np.array([x, y, z])))
    if rng.chance(0.35):  # a second plate on the other end: a shelf, a cage of columns
        steps.append(plate._replace(at=np.array([0.0, 2 * y, 0.0])))
    if rng.chance(0.3):
        steps.append(
            random_body(
                rng, axis_rotation(rng), at=np.array([rng.uniform(-0.5, 0.5), -y * 0.6, 0.0])
            )
        )
    return steps


def _framework(rng: Random) -> list[Step]:
    """A wire figure, alone, or around, on or beside a few bodies."""
    figure = wire(rng)
    matrix = axis_rotation(rng) @ affine(rng, 0.45, 1.0, 0.2)
    steps: list[Step] = [transformed(figure, matrix, np.zeros(3))]
    if rng.chance(0.3):
        return steps
    for _ in range(rng.integer(1, 3)):
        nodes = steps[0].nodes if isinstance(steps[0], Wire) else np.zeros((1, 3))
        body = random_body(rng, axis_rotation(rng))
        at = rng.choice(np.zeros(3), nodes[rng.integer(0, len(nodes) - 1)], nodes.mean(axis=0))
        steps.append(body._replace(matrix=body.matrix * rng.uniform(0.15, 0.6), at=at))
    if rng.chance(0.25):
        other = transformed(wire(rng), random_rotation(rng) * rng.uniform(0.4, 0.8), np.zeros(3))
        steps.append(other)
    return steps


def _shell(rng: Random) -> list[Step]:
    """A vessel: a body hollowed to an opening, with windows, a lid, a handle or things in it."""
    body = random_body(rng, np.eye(3), _HOLLOW)
    body = body._replace(matrix=np.diag([rng.uniform(0.4, 0.9) for _ in range(3)]))
    if rng.chance(0.6):
        body.matrix[2, 2] = body.matrix[0, 0]
    wall, up = rng.uniform(0.06, 0.2), rng.uniform(1.0, 1.3)
    inner = np.diag([1 - wall, up - wall, 1 - wall])
    lift = body.matrix @ np.array([0.0, up - 1 + 0.06, 0.0])
    if rng.chance(0.2):  # a tunnel rather than a bowl
        inner, lift = np.diag([1 - wall, 1.3, 1 - wall]), np.zeros(3)
    steps: list[Step] = [body]
    if rng.chance(0.5):
        handle = Body(
            rng.choice("ring", "torus", "ring"),
            rotation(x=math.pi / 2) @ np.diag([0.4, rng.uniform(0.3, 0.6), 0.4]),
            np.array([extent(body)[0] * 0.8, 0.0, 0.0]),
        )
        for side in (1.0, -1.0)[: rng.integer(1, 2)]:
            steps.append(transformed(handle, np.diag([side, 1.0, 1.0]), np.zeros(3)))
    # After the handles, so that it removes the parts of them that reach into the vessel.
    steps.append(Body(body.kind, body.matrix @ inner, lift, cut=True))
    if rng.chance(0.4):
        steps += drill(body, rng)
    if rng.chance(0.35):
        inside = random_body(rng, random_rotation(rng))
        steps.append(inside._replace(matrix=inside.matrix * 0.4, at=-0.3 * lift))
    if rng.chance(0.3):
        foot = np.diag([body.matrix[0, 0] * 0.7, rng.uniform(0.05, 0.3), body.matrix[2, 2] * 0.7])
        steps.append(Body(rng.choice("frustum", "cylinder", "block"), foot,
                          np.array([0.0, -body.matrix[1, 1] - foot[1, 1] * 0.8, 0.0])))  # fmt: skip
    return steps
