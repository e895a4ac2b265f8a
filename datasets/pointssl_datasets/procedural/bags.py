"""Procedural bags: handle 4, body 5. The front is at +z."""

import numpy as np

from pointssl_datasets.procedural.dice import Dice
from pointssl_datasets.procedural.primitives import box, ellipsoid, rod, slab, sweep, wedge
from pointssl_datasets.procedural.solids import Solid, bezier, rotation

GRIP, BODY = 4, 5
Parts = list[tuple[int, Solid]]
Spot = tuple[float, float, float]


def bag(d: Dice) -> Parts:
    """Tote, handbag, case, duffel, backpack or shoulder bag."""
    return d.pick(_tote, _handbag, _case, _duffel, _backpack, _shoulder)(d)


def _loop(a: Spot, b: Spot, rise: float, r: float, flat: float = 1.0, lean: float = 0.0) -> Solid:
    """A handle from ``a`` up, over and down to ``b``."""
    up = np.array([0.0, rise * 1.33, lean])
    path = bezier(a, np.array(a) + up, np.array(b) + up, b, 14)
    return sweep(path, r, r * flat, up=(0.02, 0.03, 1.0), sides=8)


def _tote(d: Dice) -> Parts:
    w, h, z = d.between(0.6, 1.0), d.between(0.6, 1.0), d.between(0.12, 0.4)
    wide = d.between(0.85, 1.25)
    parts: Parts = []
    bottom, top = (w / 2, z / 2), (w * wide / 2, z * d.between(0.3, 1.0) / 2)
    parts.append((BODY, box((w, 0.02, z), (0, 0, 0))))
    for s in (-1, 1):
        ends = [(x, y, s * q) for x, y, q in ((bottom[0], 0, bottom[1]), (top[0], h, top[1]))]
        other = [(-x, y, q) for x, y, q in ends]
        parts.append((BODY, slab(ends, other, (0, 0, 0.02))))
        sides = [(s * bottom[0], 0.0, bottom[1]), (s * top[0], h, top[1])]
        parts.append((BODY, slab(sides, [(x, y, -q) for x, y, q in sides], (0.02, 0, 0))))
    gap, rise, r = w * d.between(0.15, 0.32), d.between(0.2, 0.6), d.between(0.012, 0.03)
    for s in (-1, 1):
        q = s * top[1]
        parts.append(
            (GRIP, _loop((-gap, h * 0.9, q), (gap, h * 0.9, q), rise, r, d.pick(1.0, 2.0), s * 0.1))
        )
    return parts


def _handbag(d: Dice) -> Parts:
    w, h, z = d.between(0.8, 1.1), d.between(0.45, 0.75), d.between(0.25, 0.45)
    path = [(0, y * h, 0) for y in (0.0, 0.04, 0.2, 0.5, 0.8, 1.0)]
    shrink, slim = d.between(0.55, 0.9), d.between(0.1, 0.5)
    half = w / 2 * np.array([0.9, 0.97, 1.0, 0.97, (1 + shrink) / 2, shrink])
    deep = z / 2 * np.array([0.85, 0.97, 1.0, 0.9, (1 + slim) / 2, slim])
    parts: Parts = [
        (BODY, sweep(path, deep, half, up=(1, 0, 0), power=d.pick(2.5, 4.0, 6.0), sides=20))
    ]
    gap, r = half[-1] * d.between(0.4, 0.85), d.between(0.015, 0.035)
    rise, both = d.between(0.2, 0.5), d.chance(0.5)
    for s in (-1, 1) if both else (0,):
        q = s * deep[-1]
        parts.append((GRIP, _loop((-gap, h * 0.97, q), (gap, h * 0.97, q), rise, r, lean=s * 0.15)))
    if d.chance(0.5):
        parts.append(
            (BODY, box((w * 0.5, h * 0.45, 0.02), (0, h * 0.7, z * 0.45), rotation(x=-0.15)))
        )
    return parts


def _case(d: Dice) -> Parts:
    w, h, z = d.between(0.7, 1.1), d.between(0.5, 0.8), d.between(0.15, 0.32)
    tall = d.chance(0.35)
    if tall:
        w, h = h, w
    power = d.pick(6.0, 12.0)
    path = [(x * w, 0, 0) for x in (-0.5, -0.48, 0.48, 0.5)]
    grow = np.array([0.9, 1.0, 1.0, 0.9])
    parts: Parts = [(BODY, sweep(path, z / 2 * grow, h / 2 * grow, power=power, sides=24))]
    if tall and d.chance(0.7):
        rise, gap = d.between(0.2, 0.5), w * 0.3
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
        gap = d.between(0.1, 0.2)
        parts.append(
            (
                GRIP,
                _loop(
                    (-gap, h / 2, 0), (gap, h / 2, 0), d.between(0.08, 0.16), 0.02, d.pick(1.0, 1.8)
                ),
            )
        )
    if d.chance(0.5):
        parts += [(BODY, box((0.07, h * 1.01, z * 1.03), (s * w * 0.3, 0, 0))) for s in (-1, 1)]
    return parts


def _duffel(d: Dice) -> Parts:
    w, r = d.between(0.8, 1.2), d.between(0.2, 0.3)
    path = [(x * w, 0, 0) for x in (-0.5, -0.47, -0.25, 0.25, 0.47, 0.5)]
    grow = r * np.array([0.75, 0.95, 1.0, 1.0, 0.95, 0.75])
    parts: Parts = [
        (BODY, sweep(path, grow, grow * d.between(0.75, 1.0), power=d.between(2.0, 4.0), sides=18))
    ]
    gap = w * d.between(0.12, 0.25)
    for s in (-1, 1):
        parts.append(
            (
                GRIP,
                _loop(
                    (-gap, 0, s * r),
                    (gap, 0, s * r),
                    r + d.between(0.1, 0.3),
                    0.022,
                    2.0,
                    -s * 0.15,
                ),
            )
        )
    if d.chance(0.5):
        parts.append(
            (GRIP, _loop((-w / 2, 0.05, 0), (w / 2, 0.05, 0), d.between(0.5, 0.8), 0.018, 2.0))
        )
    return parts


def _backpack(d: Dice) -> Parts:
    w, h, z = d.between(0.5, 0.7), d.between(0.75, 1.0), d.between(0.22, 0.38)
    path = [(0, y * h, 0) for y in (0, 0.03, 0.3, 0.7, 0.9, 1.0)]
    half, deep = (
        w / 2 * np.array([0.85, 0.97, 1, 0.97, 0.8, 0.3]),
        z / 2 * np.array([0.9, 1, 1, 0.9, 0.7, 0.25]),
    )
    parts: Parts = [(BODY, sweep(path, deep, half, up=(1, 0, 0), power=4.0, sides=20))]
    if d.chance(0.75):
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


def _shoulder(d: Dice) -> Parts:
    w, h, z = d.between(0.6, 0.9), d.between(0.4, 0.65), d.between(0.12, 0.25)
    if d.chance(0.4):
        body = ellipsoid((w / 2, h * 0.6, z / 2), (0, h * 0.45, 0), low=-1.5, high=1.2)
    else:
        body = wedge((w, h, z), (0, h / 2, 0), top=(d.between(0.85, 1.0), 0.7))
    parts: Parts = [(BODY, body)]
    if d.chance(0.6):
        parts.append(
            (BODY, wedge((w * 0.9, h * 0.6, 0.03), (0, h * 0.68, z / 2 + 0.005), top=(1.08, 1.0)))
        )
    rise = d.between(0.6, 1.4)
    parts.append(
        (
            GRIP,
            _loop((-w * 0.46, h * 0.8, 0), (w * 0.46, h * 0.8, 0), rise, 0.014, d.pick(1.0, 2.5)),
        )
    )
    return parts
