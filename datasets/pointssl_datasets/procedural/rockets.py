"""Procedural rockets: body 41, fin 42, nose 43. They stand along y."""

import math

import numpy as np

from pointssl_datasets.procedural.primitives import ellipsoid, fin, revolve, rod, sweep
from pointssl_datasets.procedural.randomness import Random
from pointssl_datasets.procedural.solids import Parts, Solid, bezier

HULL, FIN, NOSE = 41, 42, 43


def rocket(rng: Random) -> Parts:
    """Missile, ogive with big fins, stages, shuttle with boosters, or one on landing legs."""
    return rng.choice(_missile, _ogive, _stages, _shuttle, _lander)(rng)


def _nose(rng: Random, r: float, y: float, tall: float) -> Solid:
    if rng.chance(0.4):
        return revolve([(r, y), (r * 0.05, y + tall), (0, y + tall)])
    if rng.chance(0.3):
        return ellipsoid((r, tall, r), (0, y, 0), low=0.0)
    return revolve(
        bezier((r, y), (r, y + tall * 0.4), (r * 0.5, y + tall * 0.8), (0, y + tall), 8),
        sharp=False,
    )


def _fins(
    rng: Random, count: int, r: float, y: float, reach: float, tall: float, back: float
) -> Parts:
    """Radial fins whose root spans [y, y + tall] on a hull of radius r."""
    tip, start = rng.uniform(0.1, 0.8) * tall, rng.uniform(0, 3.0)
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


def _missile(rng: Random) -> Parts:
    r, tall = rng.uniform(0.035, 0.08), rng.uniform(0.1, 0.25)
    parts: Parts = [(HULL, rod((0, 0, 0), (0, 1, 0), r)), (NOSE, _nose(rng, r, 1.0, tall))]
    count = rng.choice(3, 4, 4)
    parts += _fins(
        rng, count, r, 0.02, rng.uniform(0.06, 0.14), rng.uniform(0.1, 0.2), rng.uniform(0, 0.06)
    )
    if rng.chance(0.6):
        parts += _fins(
            rng,
            count,
            r,
            rng.uniform(0.4, 0.75),
            rng.uniform(0.05, 0.12),
            rng.uniform(0.08, 0.2),
            0.0,
        )
    return parts


def _ogive(rng: Random) -> Parts:
    r, split = rng.uniform(0.12, 0.22), rng.uniform(0.5, 0.75)
    line = bezier(
        (r * rng.uniform(0.4, 0.7), 0), (r, 0.25), (r * 1.1, split * 0.7), (r * 0.75, split), 10
    )
    parts: Parts = [(HULL, revolve(line, sharp=False))]
    tip = bezier((r * 0.75, split), (r * 0.6, split + 0.12), (r * 0.2, 0.9), (0, 1.0), 8)
    parts.append((NOSE, revolve(tip, sharp=False)))
    return parts + _fins(
        rng,
        rng.choice(3, 4),
        r * 0.7,
        0.05,
        rng.uniform(0.12, 0.28),
        rng.uniform(0.25, 0.4),
        rng.uniform(0, 0.15),
    )


def _stages(rng: Random) -> Parts:
    r, low, high = rng.uniform(0.07, 0.12), rng.uniform(0.3, 0.5), rng.uniform(0.55, 0.75)
    slim = r * rng.uniform(0.5, 0.85)
    line = [
        (0, 0),
        (r, 0),
        (r, low),
        (slim, low + 0.07),
        (slim, high),
        (slim * 0.8, high + 0.03),
        (slim * 0.8, 0.95),
    ]
    parts: Parts = [
        (HULL, revolve(line)),
        (NOSE, _nose(rng, slim * 0.8, 0.95, rng.uniform(0.08, 0.2))),
    ]
    parts.append((HULL, revolve([(r * 0.8, -0.08), (r * 0.4, 0.0)])))
    return parts + _fins(rng, 4, r, 0.0, rng.uniform(0.04, 0.1), rng.uniform(0.08, 0.15), 0.03)


def _shuttle(rng: Random) -> Parts:
    r, slim, tall = rng.uniform(0.09, 0.13), rng.uniform(0.04, 0.065), rng.uniform(0.6, 0.85)
    parts: Parts = [(HULL, rod((0, 0, 0), (0, 0.85, 0), r)), (NOSE, _nose(rng, r, 0.85, 0.18))]
    count = rng.choice(2, 2, 4)
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


def _lander(rng: Random) -> Parts:
    r = rng.uniform(0.1, 0.17)
    line = bezier((r * 0.5, 0.12), (r * 1.3, 0.3), (r * 1.2, 0.6), (r * 0.6, 0.8), 10)
    parts: Parts = [
        (HULL, revolve(line, sharp=False)),
        (NOSE, _nose(rng, r * 0.6, 0.8, rng.uniform(0.12, 0.3))),
    ]
    count, reach = rng.choice(3, 4), r + rng.uniform(0.12, 0.2)
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
