"""Random compositions: primitives heaped, joined, stacked, mirrored, set in rings and rows, wired,
and cut.

In the spirit of Chen et al., Learning 3D Representations from Procedural 3D Programs
(arXiv 2411.17467), where 150,000 compositions pretrain as well as ShapeNet: 1 to 9 primitives,
affine maps, cut-outs, wireframes. Beyond that, most are laid out with a symmetry or a direction,
as things that somebody designed.
"""

import math
from collections.abc import Callable

import numpy as np

from pointssl_datasets.procedural.bodies import affine, any_turn, extent, random_body, square_turn
from pointssl_datasets.procedural.carving import carved, drilled
from pointssl_datasets.procedural.csg import Body, Step, Wire, moved
from pointssl_datasets.procedural.dice import Dice
from pointssl_datasets.procedural.solids import Array, rotation, unit
from pointssl_datasets.procedural.wires import wire

MOST = 24  # steps of a composition, copies included

_LATHE = ("cylinder", "frustum", "stump", "cone", "spindle", "tube", "sphere", "torus", "dome",
          "capsule", "prism6", "prism8", "box", "block")  # fmt: skip
_HOLLOW = ("box", "cylinder", "frustum", "stump", "sphere", "dome", "prism6", "prism8", "prism5",
           "block", "capsule", "trapezium", "roof")  # fmt: skip


def compose(d: Dice) -> list[Step]:
    """The steps of one random composition, posed: about y, sometimes lying or turned at will."""
    layouts: tuple[Callable[[Dice], list[Step]], ...] = (
        _heap, _heap, _joined, _joined, _stack, _stack, _mirrored, _mirrored, _ring, _ring, _rows,
        _framework, _framework, _shell, _shell,
    )  # fmt: skip
    layout = d.pick(*layouts)
    steps = layout(d)[:MOST]
    if d.chance(0.65):
        steps = carved(steps, d)
    matrix = _pose(d)
    if d.chance(0.4):
        matrix = matrix @ affine(d, 0.65, 1.5, 0.3)
    return _grown([moved(step, matrix, np.zeros(3)) for step in steps])


def _grown(steps: list[Step]) -> list[Step]:
    """Each step larger than the one before by a hair.

    Copies that overlap share planes, and of two surfaces in one place neither is inside the other:
    now one of them is.
    """
    grown: list[Step] = []
    for number, step in enumerate(steps, start=1):
        grow = 1 + 1e-3 * number / len(steps)
        if isinstance(step, Body):
            grown.append(step._replace(matrix=step.matrix * grow))
        else:
            grown.append(step._replace(radius=step.radius * grow))
    return grown


def _pose(d: Dice) -> Array:
    heading = rotation(y=d.between(0, 2 * math.pi))
    if d.chance(0.25):
        return rotation(x=d.between(0, 2 * math.pi)) @ heading @ rotation(z=d.between(0, 6.3))
    return heading @ d.pick(np.eye(3), np.eye(3), rotation(z=math.pi / 2), rotation(x=math.pi))


def _heap(d: Dice) -> list[Step]:
    """Bodies at all angles, each growing out of an earlier one."""
    bodies = [random_body(d, any_turn(d))]
    for _ in range(d.pick(0, 1, 2, 2, 3, 3, 4, 5, 6, 8)):
        onto = d.pick(*bodies)
        towards = unit(np.array([d.between(-1, 1) for _ in range(3)]))
        small = d.between(0.35, 1.0)
        new = random_body(d, any_turn(d), at=onto.at + onto.matrix @ towards * d.between(0.6, 1.0))
        bodies.append(new._replace(matrix=new.matrix * small))
    return list(bodies)


def _joined(d: Dice) -> list[Step]:
    """Bodies square to the axes, each set against a side of an earlier one."""
    return list(_assembly(d, d.count(2, 8)))


def _assembly(d: Dice, count: int) -> list[Body]:
    bodies = [random_body(d, square_turn(d))]
    while len(bodies) < count:
        onto = d.pick(*bodies)
        small = d.between(0.35, 1.0)
        new = random_body(d, square_turn(d))
        new = new._replace(matrix=new.matrix * small)
        axis, sign = d.count(0, 2), d.pick(-1.0, 1.0)
        at = onto.at.copy()
        at[axis] += sign * (extent(onto)[axis] + extent(new)[axis]) * d.between(0.6, 0.95)
        slide = (axis + d.count(1, 2)) % 3  # flush with an edge, or in the middle
        spare = extent(onto)[slide] - extent(new)[slide]
        at[slide] += spare * d.pick(-1.0, 0.0, 0.0, 0.0, 1.0, d.between(-1, 1)) * 0.97
        bodies.append(new._replace(at=at))
    return bodies


def _stack(d: Dice) -> list[Step]:
    """On one axis, as turned on a lathe: towers, lamps, vases, screws."""
    steps: list[Step] = []
    top, slim = 0.0, d.between(0.3, 1.0)
    for _ in range(d.count(2, 8)):
        kind = d.pick(*_LATHE)
        tall, wide = 0.08 * 8 ** d.between(0, 1), slim * 0.2 * 5 ** d.between(0, 1)
        if kind == "sphere":
            tall = wide * d.between(0.6, 1.1)
        flip = d.pick(1.0, 1.0, -1.0)
        reach = {"torus": 0.32, "dome": 0.5}.get(kind, 1.0)
        matrix = np.diag([wide, tall * flip, wide])
        top += reach * tall * d.between(0.75, 0.98)
        steps.append(Body(kind, matrix, np.array([0.0, top, 0.0])))
        top += reach * tall * d.between(0.75, 0.98)
    return steps


def _mirrored(d: Dice) -> list[Step]:
    """A middle, and a few bodies on either side of it."""
    turn = any_turn if d.chance(0.3) else square_turn
    middle = [random_body(d, square_turn(d)) for _ in range(d.count(1, 2))]
    middle[0] = middle[0]._replace(matrix=middle[0].matrix * 1.1)
    if len(middle) == 2:
        shift = np.array([0.0, d.between(-0.8, 0.8), d.between(-0.8, 0.8)])
        middle[1] = middle[1]._replace(at=shift, matrix=middle[1].matrix * d.between(0.4, 0.9))
    steps: list[Step] = list(middle)
    mirror = np.diag([-1.0, 1.0, 1.0])
    onto: Body = middle[0]
    for _ in range(d.count(1, 4)):
        new = random_body(d, turn(d))
        new = new._replace(matrix=new.matrix * d.between(0.3, 0.85))
        out = abs(onto.at[0]) + (extent(onto)[0] + extent(new)[0]) * d.between(0.5, 0.9)
        away = extent(onto) * [0.0, d.between(-0.6, 0.6), d.between(-0.6, 0.6)]
        new = new._replace(at=onto.at * [0, 1, 1] + away + [out, 0, 0])
        steps += [new, moved(new, mirror, np.zeros(3))]
        onto = new if d.chance(0.4) else middle[0]
    return steps


def _ring(d: Dice) -> list[Step]:
    """A hub, and copies of one or two bodies all around it: wheels, flowers, fans, gears."""
    copies = d.count(3, 9)
    hub = random_body(d, np.eye(3), _LATHE)
    wide = d.between(0.25, 0.8)
    hub = hub._replace(matrix=np.diag([wide, d.between(0.08, 0.7), wide]))
    steps: list[Step] = [hub]
    out = wide * d.between(0.6, 0.95)
    for _ in range(d.pick(1, 1, 2)):
        arm = random_body(d, square_turn(d) if d.chance(0.6) else any_turn(d))
        arm = arm._replace(matrix=arm.matrix * d.between(0.2, 0.7))
        rise = d.between(-0.4, 0.4) * float(hub.matrix[1, 1]) if d.chance(0.5) else 0.0
        start = np.array([out + extent(arm)[0] * d.between(0.4, 0.85), rise, 0.0])
        for i in range(copies):
            turn = rotation(y=2 * math.pi * i / copies)
            steps.append(moved(arm._replace(at=start), turn, np.zeros(3)))
        out += extent(arm)[0] * 1.2
    if d.chance(0.35):
        rim = np.diag([out * 1.1, d.between(0.1, 0.3), out * 1.1])
        steps.append(Body(d.pick("ring", "pipe", "torus"), rim, np.zeros(3)))
    return steps


def _rows(d: Dice) -> list[Step]:
    """A plate or beam that carries a row or grid of equal bodies: tables, combs, shelves, racks."""
    columns, rows = d.pick((2, 2), (2, 2), (3, 1), (4, 1), (6, 1), (8, 1), (3, 2), (4, 2), (3, 3))
    wide, deep = d.between(0.7, 1.0), d.between(0.3, 0.8) if rows > 1 else d.between(0.12, 0.4)
    plate = Body(d.pick("box", "box", "cylinder", "prism6", "trapezium"),
                 np.diag([wide, d.between(0.04, 0.2), deep]), np.zeros(3))  # fmt: skip
    steps: list[Step] = [plate]
    one = random_body(d, np.eye(3) if d.chance(0.7) else square_turn(d))
    cell = np.array([wide / columns, d.between(0.2, 0.9), deep / rows])
    # Each copy fits its place, with a gap.
    size = extent(one)
    fit = np.diag(np.minimum(cell / size, 3.0) * [d.between(0.3, 0.9), 1.0, d.between(0.3, 0.9)])
    one = one._replace(matrix=fit @ one.matrix)
    side = d.pick(-1.0, 1.0)
    inset = d.between(0.8, 1.0) if plate.kind in ("box", "trapezium") else 0.66
    y = side * (plate.matrix[1, 1] + extent(one)[1]) * 0.93
    for i in range(columns):
        for j in range(rows):
            x = inset * wide * ((2 * i + 1) / columns - 1)
            z = inset * deep * ((2 * j + 1) / rows - 1)
            steps.append(one._replace(at=np.array([x, y, z])))
    if d.chance(0.35):  # a second plate on the other end: a shelf, a cage of columns
        steps.append(plate._replace(at=np.array([0.0, 2 * y, 0.0])))
    if d.chance(0.3):
        steps.append(
            random_body(d, square_turn(d), at=np.array([d.between(-0.5, 0.5), -y * 0.6, 0.0]))
        )
    return steps


def _framework(d: Dice) -> list[Step]:
    """A wire figure, alone, or around, on or beside a few bodies."""
    figure = wire(d)
    matrix = square_turn(d) @ affine(d, 0.45, 1.0, 0.2)
    steps: list[Step] = [moved(figure, matrix, np.zeros(3))]
    if d.chance(0.3):
        return steps
    for _ in range(d.count(1, 3)):
        nodes = steps[0].nodes if isinstance(steps[0], Wire) else np.zeros((1, 3))
        body = random_body(d, square_turn(d))
        at = d.pick(np.zeros(3), nodes[d.count(0, len(nodes) - 1)], nodes.mean(axis=0))
        steps.append(body._replace(matrix=body.matrix * d.between(0.15, 0.6), at=at))
    if d.chance(0.25):
        other = moved(wire(d), any_turn(d) * d.between(0.4, 0.8), np.zeros(3))
        steps.append(other)
    return steps


def _shell(d: Dice) -> list[Step]:
    """A vessel: a body hollowed to an opening, with windows, a lid, a handle or things in it."""
    body = random_body(d, np.eye(3), _HOLLOW)
    body = body._replace(matrix=np.diag([d.between(0.4, 0.9) for _ in range(3)]))
    if d.chance(0.6):
        body.matrix[2, 2] = body.matrix[0, 0]
    wall, up = d.between(0.06, 0.2), d.between(1.0, 1.3)
    inner = np.diag([1 - wall, up - wall, 1 - wall])
    lift = body.matrix @ np.array([0.0, up - 1 + 0.06, 0.0])
    if d.chance(0.2):  # a tunnel rather than a bowl
        inner, lift = np.diag([1 - wall, 1.3, 1 - wall]), np.zeros(3)
    steps: list[Step] = [body]
    if d.chance(0.5):
        handle = Body(
            d.pick("ring", "torus", "ring"),
            rotation(x=math.pi / 2) @ np.diag([0.4, d.between(0.3, 0.6), 0.4]),
            np.array([extent(body)[0] * 0.8, 0.0, 0.0]),
        )
        for side in (1.0, -1.0)[: d.count(1, 2)]:
            steps.append(moved(handle, np.diag([side, 1.0, 1.0]), np.zeros(3)))
    # After the handles, so that what reaches into the vessel goes.
    steps.append(Body(body.kind, body.matrix @ inner, lift, cut=True))
    if d.chance(0.4):
        steps += drilled(body, d)
    if d.chance(0.35):
        inside = random_body(d, any_turn(d))
        steps.append(inside._replace(matrix=inside.matrix * 0.4, at=-0.3 * lift))
    if d.chance(0.3):
        foot = np.diag([body.matrix[0, 0] * 0.7, d.between(0.05, 0.3), body.matrix[2, 2] * 0.7])
        steps.append(Body(d.pick("frustum", "cylinder", "block"), foot,
                          np.array([0.0, -body.matrix[1, 1] - foot[1, 1] * 0.8, 0.0])))  # fmt: skip
    return steps
