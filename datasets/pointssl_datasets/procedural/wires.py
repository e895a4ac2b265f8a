"""Figures made of wire: skeletons of polyhedra, cages, springs, arches, ladders, branches."""

import itertools
import math
from collections.abc import Callable

import numpy as np

from pointssl_datasets.procedural.csg import Wire
from pointssl_datasets.procedural.polyhedra import polyhedron
from pointssl_datasets.procedural.randomness import Random
from pointssl_datasets.procedural.solids import Array

_SKELETONS = (
    "box", "box", "wedge", "roof", "hip", "pyramid", "block", "tetrahedron", "octahedron",
    "prism3", "prism5", "prism6", "antiprism", "icosahedron", "dodecahedron",
)  # fmt: skip


def wire(rng: Random) -> Wire:
    """A random figure, within about -1 to 1."""
    figures: tuple[Callable[[Random], Wire], ...] = (
        _skeleton, _skeleton, _skeleton, _cage, _spring, _arch, _ladder, _branches, _star,
    )  # fmt: skip
    return rng.choice(*figures)(rng)


def _skeleton(rng: Random) -> Wire:
    solid = polyhedron(rng.choice(*_SKELETONS))
    return Wire(solid.corners, solid.edges, rng.uniform(0.03, 0.11))


def _path(nodes: Array, radius: float, closed: bool = False) -> Wire:
    steps = np.arange(len(nodes) - (not closed))
    return Wire(nodes, np.stack([steps, (steps + 1) % len(nodes)], axis=1), radius)


def _cage(rng: Random) -> Wire:
    """A grid of rods: flat like a fence, or with up to 2 x 2 x 2 cells."""
    flat = rng.chance(0.4)
    cells = (
        (rng.integer(2, 4), rng.integer(1, 4), 0)
        if flat
        else tuple(rng.integer(1, 2) for _ in range(3))
    )
    nodes = list(itertools.product(*(range(n + 1) for n in cells)))
    number = {node: i for i, node in enumerate(nodes)}
    edges = []
    for node in nodes:
        for axis in range(3):
            after = tuple(c + (k == axis) for k, c in enumerate(node))
            if after in number:
                edges.append((number[node], number[after]))
    half = np.array([max(n, 1) for n in cells]) / 2
    places = (np.array(nodes) - np.array(cells) / 2) / half
    return Wire(places, np.array(edges), rng.uniform(0.03, 0.08))


def _spring(rng: Random) -> Wire:
    turns, taper = rng.uniform(1.5, 4.0), rng.uniform(0.0, 0.6) if rng.chance(0.4) else 0.0
    t = np.linspace(0, 1, int(12 * turns) + 1)
    angle, r = 2 * math.pi * turns * t, 1 - taper * t
    nodes = np.stack([r * np.cos(angle), 2 * t - 1, r * np.sin(angle)], axis=1)
    return _path(nodes, rng.uniform(0.05, 0.6 / turns if turns > 3 else 0.16))


def _arch(rng: Random) -> Wire:
    """A bow, a hook or a closed loop; some are wavy."""
    closed = rng.chance(0.4)
    sweep = 2 * math.pi if closed else rng.uniform(0.8, 1.7) * math.pi
    count = 24
    angle = np.arange(count) / (count if closed else count - 1) * sweep
    waves, high = rng.integer(2, 5), rng.uniform(0.0, 0.4) if rng.chance(0.5) else 0.0
    r = 1 + (high * np.cos(waves * angle) if rng.chance(0.5) else 0 * angle)
    nodes = np.stack([r * np.cos(angle), r * np.sin(angle), high * np.sin(waves * angle)], axis=1)
    return _path(nodes, rng.uniform(0.05, 0.2), closed)


def _ladder(rng: Random) -> Wire:
    """Two rails, straight or twisted, with rungs."""
    rungs, twist, wide = (
        rng.integer(3, 8),
        rng.uniform(0, 3) if rng.chance(0.4) else 0.0,
        rng.uniform(0.3, 1),
    )
    y = np.linspace(-1, 1, rungs + 2)
    across, deep = wide * np.cos(twist * y), wide * np.sin(twist * y)
    left, right = np.stack([across, y, deep], 1), np.stack([-across, y, -deep], 1)
    n = len(y)
    rails = [(i + side * n, i + 1 + side * n) for i in range(n - 1) for side in (0, 1)]
    steps = [(i, i + n) for i in range(1, n - 1)]
    return Wire(np.concatenate([left, right]), np.array(rails + steps), rng.uniform(0.03, 0.09))


def _branches(rng: Random) -> Wire:
    """A trunk that forks two or three times."""
    nodes, edges = [np.array([0.0, -1.0, 0.0]), np.array([0.0, -0.3, 0.0])], [(0, 1)]
    tips = [(1, np.array([0.0, 0.6, 0.0]))]
    for _ in range(rng.integer(2, 3)):
        grown = []
        for node, step in tips:
            for _ in range(2):
                aside = np.array([rng.uniform(-0.5, 0.5) for _ in range(3)])
                onward = 0.85 * step + aside
                edges.append((node, len(nodes)))
                grown.append((len(nodes), onward))
                nodes.append(nodes[node] + onward)
        tips = grown
    return Wire(np.stack(nodes), np.array(edges), rng.uniform(0.04, 0.1))


def _star(rng: Random) -> Wire:
    """Spokes from a hub; some have a rim."""
    spokes, tall = rng.integer(3, 8), rng.uniform(-0.8, 0.8) if rng.chance(0.5) else 0.0
    angle = 2 * math.pi * np.arange(spokes) / spokes
    nodes = [(0.0, tall, 0.0), *((math.cos(a), 0.0, math.sin(a)) for a in angle)]
    edges = [(0, i) for i in range(1, spokes + 1)]
    if rng.chance(0.6):
        edges += [(i, i % spokes + 1) for i in range(1, spokes + 1)]
    return Wire(np.array(nodes), np.array(edges), rng.uniform(0.04, 0.12))
