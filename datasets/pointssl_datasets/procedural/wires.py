"""Wire figures: the edges of polyhedra as rods, cages, springs, arches, ladders, branches."""

import itertools
import math
from collections.abc import Callable

import numpy as np

from pointssl_datasets.procedural.csg import Wire
from pointssl_datasets.procedural.dice import Dice
from pointssl_datasets.procedural.polyhedra import polyhedron
from pointssl_datasets.procedural.solids import Array

_SKELETONS = (
    "box", "box", "wedge", "roof", "hip", "pyramid", "block", "tetrahedron", "octahedron",
    "prism3", "prism5", "prism6", "antiprism", "icosahedron", "dodecahedron",
)  # fmt: skip


def wire(d: Dice) -> Wire:
    """A figure within about -1 to 1."""
    figures: tuple[Callable[[Dice], Wire], ...] = (
        _skeleton, _skeleton, _skeleton, _cage, _spring, _arch, _ladder, _branches, _star,
    )  # fmt: skip
    return d.pick(*figures)(d)


def _skeleton(d: Dice) -> Wire:
    solid = polyhedron(d.pick(*_SKELETONS))
    return Wire(solid.corners, solid.edges, d.between(0.03, 0.11))


def _path(nodes: Array, radius: float, closed: bool = False) -> Wire:
    steps = np.arange(len(nodes) - (not closed))
    return Wire(nodes, np.stack([steps, (steps + 1) % len(nodes)], axis=1), radius)


def _cage(d: Dice) -> Wire:
    """A grid of rods: flat as a fence, or of up to 2 x 2 x 2 rooms."""
    flat = d.chance(0.4)
    rooms = (d.count(2, 4), d.count(1, 4), 0) if flat else tuple(d.count(1, 2) for _ in range(3))
    nodes = list(itertools.product(*(range(n + 1) for n in rooms)))
    number = {node: i for i, node in enumerate(nodes)}
    edges = []
    for node in nodes:
        for axis in range(3):
            after = tuple(c + (k == axis) for k, c in enumerate(node))
            if after in number:
                edges.append((number[node], number[after]))
    half = np.array([max(n, 1) for n in rooms]) / 2
    places = (np.array(nodes) - np.array(rooms) / 2) / half
    return Wire(places, np.array(edges), d.between(0.03, 0.08))


def _spring(d: Dice) -> Wire:
    turns, taper = d.between(1.5, 4.0), d.between(0.0, 0.6) if d.chance(0.4) else 0.0
    t = np.linspace(0, 1, int(12 * turns) + 1)
    angle, r = 2 * math.pi * turns * t, 1 - taper * t
    nodes = np.stack([r * np.cos(angle), 2 * t - 1, r * np.sin(angle)], axis=1)
    return _path(nodes, d.between(0.05, 0.6 / turns if turns > 3 else 0.16))


def _arch(d: Dice) -> Wire:
    """A bow, a hook or a closed loop, perhaps wavy."""
    closed = d.chance(0.4)
    sweep = 2 * math.pi if closed else d.between(0.8, 1.7) * math.pi
    count = 24
    angle = np.arange(count) / (count if closed else count - 1) * sweep
    waves, high = d.count(2, 5), d.between(0.0, 0.4) if d.chance(0.5) else 0.0
    r = 1 + (high * np.cos(waves * angle) if d.chance(0.5) else 0 * angle)
    nodes = np.stack([r * np.cos(angle), r * np.sin(angle), high * np.sin(waves * angle)], axis=1)
    return _path(nodes, d.between(0.05, 0.2), closed)


def _ladder(d: Dice) -> Wire:
    """Two rails, straight or twisted, with rungs."""
    rungs, twist, wide = d.count(3, 8), d.between(0, 3) if d.chance(0.4) else 0.0, d.between(0.3, 1)
    y = np.linspace(-1, 1, rungs + 2)
    across, deep = wide * np.cos(twist * y), wide * np.sin(twist * y)
    left, right = np.stack([across, y, deep], 1), np.stack([-across, y, -deep], 1)
    n = len(y)
    rails = [(i + side * n, i + 1 + side * n) for i in range(n - 1) for side in (0, 1)]
    steps = [(i, i + n) for i in range(1, n - 1)]
    return Wire(np.concatenate([left, right]), np.array(rails + steps), d.between(0.03, 0.09))


def _branches(d: Dice) -> Wire:
    """A trunk that forks two or three times."""
    nodes, edges = [np.array([0.0, -1.0, 0.0]), np.array([0.0, -0.3, 0.0])], [(0, 1)]
    tips = [(1, np.array([0.0, 0.6, 0.0]))]
    for _ in range(d.count(2, 3)):
        grown = []
        for node, step in tips:
            for _ in range(2):
                aside = np.array([d.between(-0.5, 0.5) for _ in range(3)])
                onward = 0.85 * step + aside
                edges.append((node, len(nodes)))
                grown.append((len(nodes), onward))
                nodes.append(nodes[node] + onward)
        tips = grown
    return Wire(np.stack(nodes), np.array(edges), d.between(0.04, 0.1))


def _star(d: Dice) -> Wire:
    """Spokes from a middle, perhaps within a rim."""
    spokes, tall = d.count(3, 8), d.between(-0.8, 0.8) if d.chance(0.5) else 0.0
    angle = 2 * math.pi * np.arange(spokes) / spokes
    nodes = [(0.0, tall, 0.0), *((math.cos(a), 0.0, math.sin(a)) for a in angle)]
    edges = [(0, i) for i in range(1, spokes + 1)]
    if d.chance(0.6):
        edges += [(i, i % spokes + 1) for i in range(1, spokes + 1)]
    return Wire(np.array(nodes), np.array(edges), d.between(0.04, 0.12))
