"""Procedural airplanes: body 0, wing 1, tail 2, engine 3. They fly towards +x, wings along z."""

import math

import numpy as np

from pointssl_datasets.procedural.primitives import box, ellipsoid, fin, revolve, rod, sweep
from pointssl_datasets.procedural.randomness import Random
from pointssl_datasets.procedural.solids import Parts, Solid

BODY, WING, TAIL, ENGINE = range(4)


def airplane(rng: Random) -> Parts:
    """Airliner, business jet, propeller plane, biplane, fighter or glider."""
    return rng.choice(_airliner, _airliner, _business, _propeller, _biplane, _fighter, _glider)(rng)


def _fuselage(
    rng: Random, r: float, tall: float = 1.0, nose: float = 0.15, tail: float = 0.4
) -> Solid:
    """Length 1 from x = -0.5 (tail, swept up) to 0.5 (nose)."""
    x = np.array([0.0, tail * 0.5, tail, 0.6, 1 - nose, 1 - nose * 0.5, 1 - nose * 0.15, 1.0])
    size = r * np.array([0.12, 0.6, 1.0, 1.0, 1.0, 0.8, 0.45, 0.05])
    rise = r * np.array([0.75, 0.3, 0.0, 0.0, 0.0, -0.05, -0.15, -0.2])
    path = np.stack([x - 0.5, rise, 0 * x], 1)
    return sweep(path, size, size * tall, sides=14)


def _wings(
    rng: Random,
    x: float,
    y: float,
    span: float,
    root: float,
    tip: float,
    sweep_back: float,
    dihedral: float,
    part: int = WING,
) -> Parts:
    """Both wings; x is the root's leading edge, the other lengths are absolute."""
    thick = np.array([0.1, 0.1 * rng.uniform(0.6, 1.0)]) * [root, tip]
    parts: Parts = []
    for s in (-1, 1):
        lead = [(x, y, 0), (x - sweep_back, y + dihedral, s * span)]
        trail = [(x - root, y, 0), (x - sweep_back - tip, y + dihedral, s * span)]
        parts.append((part, fin(lead, trail, thick, (0, 1, 0), sides=10)))
    return parts


def _tail(rng: Random, r: float, x: float = -0.34, size: float = 1.0) -> Parts:
    tall, span = size * rng.uniform(0.12, 0.2), size * rng.uniform(0.12, 0.2)
    back = rng.uniform(0.03, 0.12)
    base = r * 0.45
    lead, trail = (
        [(x, base, 0), (x - back, base + tall, 0)],
        [(-0.49, base, 0), (-0.5, base + tall, 0)],
    )
    parts: Parts = [(TAIL, fin(lead, trail, (0.016, 0.01), (0, 0, 1), sides=8))]
    y = base + (tall * 0.95 if rng.chance(0.3) else 0.0)
    return parts + _wings(
        rng, x - (0.06 if y > base else 0.02), y, span, 0.1, 0.05, back * 0.8, 0.01, TAIL
    )


def _engine(rng: Random, at: tuple[float, float, float], r: float, long: float) -> Solid:
    x, y, z = at
    line = [
        (0.45 * r, -long),
        (0.9 * r, -0.6 * long),
        (1.05 * r, 0.2 * long),
        (0.95 * r, long),
        (0.4 * r, 0.6 * long),
        (0, 0.6 * long),
    ]
    return revolve(line, (x, y, z), (1.0, 0.0, 0.0), sharp=False, sides=12)


def _airliner(rng: Random) -> Parts:
    r, span, low = rng.uniform(0.045, 0.075), rng.uniform(0.38, 0.55), rng.uniform(-0.7, -0.3)
    parts: Parts = [(BODY, _fuselage(rng, r, rng.uniform(0.95, 1.15)))]
    root, tip, back = rng.uniform(0.16, 0.24), rng.uniform(0.04, 0.08), rng.uniform(0.12, 0.3)
    y = 0.7 * r if rng.chance(0.15) else low * r
    rise = rng.uniform(0.0, 0.06)
    parts += _wings(rng, rng.uniform(0.1, 0.18), y, span, root, tip, back, rise)
    parts += _tail(rng, r)
    pairs, size = rng.choice(1, 1, 2), rng.uniform(0.02, 0.033)
    for i in range(pairs):
        t = (0.35, 0.6)[i] if pairs == 2 else 0.36
        for s in (-1, 1):
            at = (0.15 - t * back - 0.01, y + t * rise - size * 1.1, s * t * span)
            parts.append((ENGINE, _engine(rng, at, size, size * rng.uniform(1.5, 2.0))))
    return parts


def _business(rng: Random) -> Parts:
    r = rng.uniform(0.055, 0.08)
    parts: Parts = [(BODY, _fuselage(rng, r, 1.1, rng.uniform(0.15, 0.28), 0.45))]
    parts += _wings(
        rng,
        rng.uniform(0.02, 0.1),
        -0.6 * r,
        rng.uniform(0.35, 0.5),
        0.16,
        0.06,
        rng.uniform(0.08, 0.2),
        rng.uniform(0.0, 0.05),
    )
    parts += _tail(rng, r, -0.36, 1.1)
    size = rng.uniform(0.026, 0.038)
    for s in (-1, 1):
        parts.append((ENGINE, _engine(rng, (-0.22, r * 0.5, s * (r + size)), size, size * 2.2)))
    if rng.chance(0.3):
        parts.append((ENGINE, _engine(rng, (-0.3, r * 1.6, 0), size, size * 2.5)))
    return parts


def _blades(rng: Random, at: tuple[float, float, float], reach: float) -> Parts:
    """A propeller facing +x with its spinner."""
    count, start = rng.integer(2, 4), rng.uniform(0, math.pi)
    x, y, z = at
    parts: Parts = [(ENGINE, ellipsoid((0.03, 0.02, 0.02), at, sides=8))]
    for i in range(count):
        a = start + 2 * math.pi * i / count
        tip = (x, y + reach * math.sin(a), z + reach * math.cos(a))
        side = np.array([0.008, 0.012 * math.cos(a), -0.012 * math.sin(a)])
        ends = np.array([at, tip])
        parts.append((ENGINE, fin(ends - side, ends + side, 0.008, (1, 0, 0), sides=6)))
    return parts


def _propeller(rng: Random) -> Parts:
    r = rng.uniform(0.06, 0.09)
    parts: Parts = [(BODY, _fuselage(rng, r, rng.uniform(1.0, 1.3), 0.1, 0.55))]
    high = rng.chance(0.5)
    span, root = rng.uniform(0.45, 0.65), rng.uniform(0.13, 0.2)
    y = r * (1.1 if high else -0.6)
    parts += _wings(
        rng,
        0.26,
        y,
        span,
        root,
        root * rng.uniform(0.5, 1.0),
        rng.uniform(0, 0.04),
        rng.uniform(0, 0.06),
    )
    parts += _tail(rng, r, -0.36)
    if rng.chance(0.35):
        for s in (-1, 1):
            parts.append((ENGINE, _engine(rng, (0.27, y, s * span * 0.35), 0.035, 0.08)))
            parts += _blades(rng, (0.36, y, s * span * 0.35), 0.11)
    else:
        parts += _blades(rng, (0.51, -0.2 * r, 0), rng.uniform(0.1, 0.16))
    if rng.chance(0.6):
        parts.append((BODY, ellipsoid((0.1, r * 0.7, r * 0.8), (0.12, r, 0), sides=10)))
        for s in (-1, 1):
            parts.append(
                (BODY, rod((0.2, -r, s * r * 0.5), (0.2, -r - 0.07, s * 0.12), 0.008, sides=6))
            )
            parts.append(
                (BODY, ellipsoid((0.03, 0.03, 0.012), (0.2, -r - 0.07, s * 0.12), sides=8))
            )
    return parts


def _biplane(rng: Random) -> Parts:
    r, gap, span = rng.uniform(0.06, 0.08), rng.uniform(0.12, 0.2), rng.uniform(0.4, 0.55)
    root, stagger = rng.uniform(0.13, 0.18), rng.uniform(0.0, 0.06)
    parts: Parts = [(BODY, _fuselage(rng, r, 1.1, 0.08, 0.6))]
    for level in range(3 if rng.chance(0.2) else 2):
        parts += _wings(
            rng, 0.28 + stagger * level, -r + gap * level, span, root, root * 0.9, 0.0, 0.01
        )
    for s in (-1, 1):
        for q in (0.4, 0.75):
            foot = (0.2, -r, s * span * q)
            parts.append((WING, rod(foot, (0.2 + stagger, gap - r, s * span * q), 0.007, sides=6)))
    return parts + _tail(rng, r, -0.38) + _blades(rng, (0.51, -0.2 * r, 0), rng.uniform(0.1, 0.15))


def _fighter(rng: Random) -> Parts:
    r = rng.uniform(0.045, 0.07)
    parts: Parts = [(BODY, _fuselage(rng, r, 1.0, rng.uniform(0.3, 0.45), 0.2))]
    parts.append((BODY, ellipsoid((0.1, 0.035, 0.03), (0.2, r * 0.9, 0), sides=10)))
    span, root = rng.uniform(0.22, 0.38), rng.uniform(0.3, 0.5)
    parts += _wings(
        rng,
        rng.uniform(0.05, 0.15),
        0.0,
        span,
        root,
        rng.uniform(0.02, 0.1),
        root * rng.uniform(0.5, 0.85),
        0.0,
    )
    if rng.chance(0.5):
        parts += _wings(rng, -0.36, 0, rng.uniform(0.12, 0.2), 0.12, 0.05, 0.08, 0.0, TAIL)
    else:
        parts += _wings(rng, 0.28, 0.02, 0.14, 0.09, 0.02, 0.08, 0.0)
    twins = rng.chance(0.6)
    for s in (-1, 1) if twins else (0,):
        tall, lean, z = rng.uniform(0.11, 0.16), s * rng.uniform(0.0, 0.07), s * r
        lead, trail = (
            [(-0.3, r * 0.5, z), (-0.42, r * 0.5 + tall, z + lean)],
            [(-0.47, r * 0.5, z), (-0.5, r * 0.5 + tall, z + lean)],
        )
        parts.append((TAIL, fin(lead, trail, 0.012, (0, 0, 1), sides=8)))
        parts.append((ENGINE, rod((-0.35, 0, z * 0.7), (-0.53, 0, z * 0.7), 0.8 * r, 0.6 * r)))
    if twins:
        parts += [(BODY, box((0.3, 1.3 * r, 1.0 * r), (-0.1, -0.1 * r, s * r))) for s in (-1, 1)]
    return parts


def _glider(rng: Random) -> Parts:
    r = rng.uniform(0.03, 0.045)
    parts: Parts = [(BODY, _fuselage(rng, r, 1.2, 0.25, 0.65))]
    parts += _wings(
        rng,
        0.2,
        r * 0.6,
        rng.uniform(0.65, 0.95),
        0.1,
        0.04,
        rng.uniform(-0.02, 0.04),
        rng.uniform(0.02, 0.08),
    )
    return parts + _tail(rng, r, -0.38)
