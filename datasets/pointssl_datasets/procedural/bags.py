"""Procedural bags: handle 4, body 5. The front is at +z."""

import numpy as np

from pointssl_datasets.procedural.primitives import box, ellipsoid, rod, slab, sweep, wedge
from pointssl_datasets.procedural.randomness import Random
from pointssl_datasets.procedural.solids import Parts, Point, Solid, bezier, rotation

GRIP, BODY = 4, 5


def bag(rng: Random) -> Parts:
    """Tote, handbag, case, duffel, backpack or shoulder bag."""
    return rng.choice(_tote, _handbag, _case, _duffel, _backpack, _shoulder)(rng)


def _loop(a: Point, b: Point, rise: float, r: float, flat: float = 1.0, lean: float = 0.0) -> Solid:
    """A handle from ``a`` up, over and down to ``b``."""
    up = np.array([0.0, rise * 1.33, lean])
    path = bezier(a, np.array(a) + up, np.array(b) + up, b, 14)
    return sweep(path, r, r * flat, up=(0.02, 0.03, 1.0), sides=8)


def _tote(rng: Random) -> Parts:
    w, h, z = rng.uniform(0.6, 1.0), rng.uniform(0.6, 1.0), rng.uniform(0.12, 0.4)
    wide = rng.uniform(0.85, 1.25)
    parts: Parts = []
    bottom, top = (w / 2, z / 2), (w * wide / 2, z * rng.uniform(0.3, 1.0) / 2)
    parts.append((BODY, box((w, 0.02, z), (0, 0, 0))))
    for s in (-1, 1):
        ends = [(x, y, s * q) for x, y, q in ((bottom[0], 0, bottom[1]), (top[0], h, top[1]))]
        other = [(-x, y, q) for x, y, q in ends]
        parts.append((BODY, slab(ends, other, (0, 0, 0.02))))
        sides = [(s * bottom[0], 0.0, bottom[1]), (s * top[0], h, top[1])]
        parts.append((BODY, slab(sides, [(x, y, -q) for x, y, q in sides], (0.02, 0, 0))))
    gap, rise, r = w * rng.uniform(0.15, 0.32), rng.uniform(0.2, 0.6), rng.uniform(0.012, 0.03)
    for s in (-1, 1):
        q = s * top[1]
        parts.append(
            (
                GRIP,
                _loop(
                    (-gap, h * 0.9, q), (gap, h * 0.9, q), rise, r, rng.choice(1.0, 2.0), s * 0.1
                ),
            )
        )
    return parts


def _handbag(rng: Random) -> Parts:
    w, h, z = rng.uniform(0.8, 1.1), rng.uniform(0.45, 0.75), rng.uniform(0.25, 0.45)
    path = [(0, y * h, 0) for y in (0.0, 0.04, 0.2, 0.5, 0.8, 1.0)]
    shrink, slim = rng.uniform(0.55, 0.9), rng.uniform(0.1, 0.5)
    half = w / 2 * np.array([0.9, 0.97, 1.0, 0.97, (1 + shrink) / 2, shrink])
    deep = z / 2 * np.array([0.85, 0.97, 1.0, 0.9, (1 + slim) / 2, slim])
    parts: Parts = [
        (BODY, sweep(path, deep, half, up=(1, 0, 0), power=rng.choice(2.5, 4.0, 6.0), sides=20))
    ]
    gap, r = half[-1] * rng.uniform(0.4, 0.85), rng.uniform(0.015, 0.035)
    rise, both = rng.uniform(0.2, 0.5), rng.chance(0.5)
    for s in (-1, 1) if both else (0,):
        q = s * deep[-1]
        parts.append((GRIP, _loop((-gap, h * 0.97, q), (gap, h * 0.97, q), rise, r, lean=s * 0.15)))
    if rng.chance(0.5):
        parts.append(
            (BODY, box((w * 0.5, h * 0.45, 0.02), (0, h * 0.7, z * 0.45), rotation(x=-0.15)))
        )
    return parts


def _case(rng: Random) -> Parts:
    w, h, z = rng.uniform(0.7, 1.1), rng.uniform(0.5, 0.8), rng.uniform(0.15, 0.32)
    tall = rng.chance(0.35)
    if tall:
        w, h = h, w
    power = rng.choice(6.0, 12.0)
    path = [(x * w, 0, 0) for x in (-0.5, -0.48, 0.48, 0.5)]
    grow = np.array([0.9, 1.0, 1.0, 0.9])
    parts: Parts = [(BODY, sweep(path, z / 2 * grow, h / 2 * grow, power=power, sides=24))]
    if tall and rng.chance(0.7):
        rise, gap = rng.uniform(0.2, 0.5), w * 0.3
        for s in (-1, 1):
            parts.append(
                (
                    GRIP,
                    rod(
                        (s * gap, h / 2, -z * 0.3),
                        (s * gap, h / 2 + rise, -z * 0.3),
                        0.015,
                        sides=8,
                    ),
                )
            )
        parts.append(
            (
                GRIP,
                rod((-gap, h / 2 + rise, -z * 0.3), (gap, h / 2 + rise, -z * 0.3), 0.025, sides=8),
            )
        )
        parts += [
            (
                BODY,
                rod(
                    (s * w * 0.4 - 0.02, -h / 2 - 0.03, q * z * 0.35),
                    (s * w * 0.4 + 0.02, -h / 2 - 0.03, q * z * 0.35),
                    0.04,
                ),
            )
            for s in (-1, 1)
            for q in (-1, 1)
        ]
    else:
        gap = rng.uniform(0.1, 0.2)
        parts.append(
            (
                GRIP,
                _loop(
                    (-gap, h / 2, 0),
                    (gap, h / 2, 0),
                    rng.uniform(0.08, 0.16),
                    0.02,
                    rng.choice(1.0, 1.8),
                ),
            )
        )
    if rng.chance(0.5):
        parts += [(BODY, box((0.07, h * 1.01, z * 1.03), (s * w * 0.3, 0, 0))) for s in (-1, 1)]
    return parts


def _duffel(rng: Random) -> Parts:
    w, r = rng.uniform(0.8, 1.2), rng.uniform(0.2, 0.3)
    path = [(x * w, 0, 0) for x in (-0.5, -0.47, -0.25, 0.25, 0.47, 0.5)]
    grow = r * np.array([0.75, 0.95, 1.0, 1.0, 0.95, 0.75])
    parts: Parts = [
        (
            BODY,
            sweep(path, grow, grow * rng.uniform(0.75, 1.0), power=rng.uniform(2.0, 4.0), sides=18),
        )
    ]
    gap = w * rng.uniform(0.12, 0.25)
    for s in (-1, 1):
        parts.append(
            (
                GRIP,
                _loop(
                    (-gap, 0, s * r),
                    (gap, 0, s * r),
                    r + rng.uniform(0.1, 0.3),
                    0.022,
                    2.0,
                    -s * 0.15,
                ),
            )
        )
    if rng.chance(0.5):
        parts.append(
            (GRIP, _loop((-w / 2, 0.05, 0), (w / 2, 0.05, 0), rng.uniform(0.5, 0.8), 0.018, 2.0))
        )
    return parts


def _backpack(rng: Random) -> Parts:
    w, h, z = rng.uniform(0.5, 0.7), rng.uniform(0.75, 1.0), rng.uniform(0.22, 0.38)
    path = [(0, y * h, 0) for y in (0, 0.03, 0.3, 0.7, 0.9, 1.0)]
    half, deep = (
        w / 2 * np.array([0.85, 0.97, 1, 0.97, 0.8, 0.3]),
        z / 2 * np.array([0.9, 1, 1, 0.9, 0.7, 0.25]),
    )
    parts: Parts = [(BODY, sweep(path, deep, half, up=(1, 0, 0), power=4.0, sides=20))]
    if rng.chance(0.75):
        parts.append((BODY, box((w * 0.7, h * 0.35, z * 0.4), (0, h * 0.25, z * 0.55))))
    for s in (-1, 1):
        x, out = s * w * 0.25, -z * 0.5
        strap = bezier(
            (x, h * 0.9, out * 0.7),
            (x * 1.2, h * 0.95, out * 3.2),
            (x * 1.6, h * 0.3, out * 3.0),
            (x * 1.5, h * 0.08, out),
            12,
        )
        parts.append((GRIP, sweep(strap, 0.014, 0.05, up=(1, 0, 0), sides=8)))
    parts.append((GRIP, _loop((-0.07, h * 0.97, -0.05), (0.07, h * 0.97, -0.05), 0.08, 0.014)))
    return parts


def _shoulder(rng: Random) -> Parts:
    w, h, z = rng.uniform(0.6, 0.9), rng.uniform(0.4, 0.65), rng.uniform(0.12, 0.25)
    if rng.chance(0.4):
        body = ellipsoid((w / 2, h * 0.6, z / 2), (0, h * 0.45, 0), low=-1.5, high=1.2)
    else:
        body = wedge((w, h, z), (0, h / 2, 0), top=(rng.uniform(0.85, 1.0), 0.7))
    parts: Parts = [(BODY, body)]
    if rng.chance(0.6):
        parts.append(
            (BODY, wedge((w * 0.9, h * 0.6, 0.03), (0, h * 0.68, z / 2 + 0.005), top=(1.08, 1.0)))
        )
    rise = rng.uniform(0.6, 1.4)
    parts.append(
        (
            GRIP,
            _loop(
                (-w * 0.46, h * 0.8, 0), (w * 0.46, h * 0.8, 0), rise, 0.014, rng.choice(1.0, 2.5)
            ),
        )
    )
    return parts
