"""Procedural rockets: body 41, fin 42, nose 43. They stand along y."""

import math

import numpy as np

from pointssl_datasets.procedural.dice import Dice
from pointssl_datasets.procedural.primitives import ellipsoid, fin, revolve, rod, sweep
from pointssl_datasets.procedural.solids import Solid, bezier

HULL, FIN, NOSE = 41, 42, 43
Parts = list[tuple[int, Solid]]


def rocket(d: Dice) -> Parts:
    """Missile, ogive with big fins, stages, shuttle with boosters, or one on landing legs."""
    return d.pick(_missile, _ogive, _stages, _shuttle, _lander)(d)


def _nose(d: Dice, r: float, y: float, tall: float) -> Solid:
    if d.chance(0.4):
        return revolve([(r, y), (r * 0.05, y + tall), (0, y + tall)])
    if d.chance(0.3):
        return ellipsoid((r, tall, r), (0, y, 0), low=0.0)
    return revolve(
        bezier((r, y), (r, y + tall * 0.4), (r * 0.5, y + tall * 0.8), (0, y + tall), 8),
        sharp=False,
    )


def _fins(d: Dice, count: int, r: float, y: float, reach: float, tall: float, back: float) -> Parts:
    """Radial fins whose root spans [y, y + tall] on a hull of radius r."""
    tip, start = d.between(0.1, 0.8) * tall, d.between(0, 3.0)
    parts: Parts = []
    for i in range(count):
        a = start + 2 * math.pi * i / count
        c, s = math.cos(a), math.sin(a)
        lead = [
            (0.9 * r * c, y + tall, 0.9 * r * s),
            ((r + reach) * c, y - back + tip, (r + reach) * s),
        ]
        trail = [(0.9 * r * c, y, 0.9 * r * s), ((r + reach) * c, y - back, (r + reach) * s)]
        parts.append((FIN, fin(lead, trail, 0.02, (-s, 0, c), sides=8)))
    return parts


def _missile(d: Dice) -> Parts:
    r, tall = d.between(0.035, 0.08), d.between(0.1, 0.25)
    parts: Parts = [(HULL, rod((0, 0, 0), (0, 1, 0), r)), (NOSE, _nose(d, r, 1.0, tall))]
    count = d.pick(3, 4, 4)
    parts += _fins(
        d, count, r, 0.02, d.between(0.06, 0.14), d.between(0.1, 0.2), d.between(0, 0.06)
    )
    if d.chance(0.6):
        parts += _fins(
            d, count, r, d.between(0.4, 0.75), d.between(0.05, 0.12), d.between(0.08, 0.2), 0.0
        )
    return parts


def _ogive(d: Dice) -> Parts:
    r, split = d.between(0.12, 0.22), d.between(0.5, 0.75)
    line = bezier(
        (r * d.between(0.4, 0.7), 0), (r, 0.25), (r * 1.1, split * 0.7), (r * 0.75, split), 10
    )
    parts: Parts = [(HULL, revolve(line, sharp=False))]
    tip = bezier((r * 0.75, split), (r * 0.6, split + 0.12), (r * 0.2, 0.9), (0, 1.0), 8)
    parts.append((NOSE, revolve(tip, sharp=False)))
    return parts + _fins(
        d,
        d.pick(3, 4),
        r * 0.7,
        0.05,
        d.between(0.12, 0.28),
        d.between(0.25, 0.4),
        d.between(0, 0.15),
    )


def _stages(d: Dice) -> Parts:
    r, low, high = d.between(0.07, 0.12), d.between(0.3, 0.5), d.between(0.55, 0.75)
    slim = r * d.between(0.5, 0.85)
    line = [
        (0, 0),
        (r, 0),
        (r, low),
        (slim, low + 0.07),
        (slim, high),
        (slim * 0.8, high + 0.03),
        (slim * 0.8, 0.95),
    ]
    parts: Parts = [(HULL, revolve(line)), (NOSE, _nose(d, slim * 0.8, 0.95, d.between(0.08, 0.2)))]
    parts.append((HULL, revolve([(r * 0.8, -0.08), (r * 0.4, 0.0)])))
    return parts + _fins(d, 4, r, 0.0, d.between(0.04, 0.1), d.between(0.08, 0.15), 0.03)


def _shuttle(d: Dice) -> Parts:
    r, slim, tall = d.between(0.09, 0.13), d.between(0.04, 0.065), d.between(0.6, 0.85)
    parts: Parts = [(HULL, rod((0, 0, 0), (0, 0.85, 0), r)), (NOSE, _nose(d, r, 0.85, 0.18))]
    count = d.pick(2, 2, 4)
    for i in range(count):
        a = 2 * math.pi * i / count
        x, z = (r + slim) * math.cos(a), (r + slim) * math.sin(a)
        parts.append((HULL, rod((x, -0.05, z), (x, tall, z), slim)))
        parts.append((NOSE, rod((x, tall, z), (x, tall + 0.12, z), slim, 0.004)))
    for s in (-1, 1):
        z = r if count == 2 else 0.0
        lead = [(0, 0.4, z), (s * 0.26, 0.08, z)]
        parts.append(
            (FIN, fin(lead, [(0, 0.02, z), (s * 0.26, 0.02, z)], 0.03, (0, 0, 1), sides=8))
        )
    parts.append(
        (FIN, fin([(0, 0.2, r), (0, 0.05, r + 0.2)], [(0, 0, r), (0, 0, r + 0.2)], 0.02, (1, 0, 0)))
    )
    return parts


def _lander(d: Dice) -> Parts:
    r = d.between(0.1, 0.17)
    line = bezier((r * 0.5, 0.12), (r * 1.3, 0.3), (r * 1.2, 0.6), (r * 0.6, 0.8), 10)
    parts: Parts = [
        (HULL, revolve(line, sharp=False)),
        (NOSE, _nose(d, r * 0.6, 0.8, d.between(0.12, 0.3))),
    ]
    count, reach = d.pick(3, 4), r + d.between(0.12, 0.2)
    for i in range(count):
        c, s = math.cos(2 * math.pi * i / count), math.sin(2 * math.pi * i / count)
        path = bezier(
            (r * c, 0.4, r * s),
            (reach * c, 0.4, reach * s),
            (reach * c, 0.2, reach * s),
            (reach * c, 0, reach * s),
            8,
        )
        parts.append((FIN, sweep(path, 0.012, np.linspace(0.07, 0.03, 8), up=(-s, 0, c), sides=8)))
    return parts
