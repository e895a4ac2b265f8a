"""Procedural caps (crown 6, peak 7) and earphones (earphone 16, headband 17, wire 18).

The wearer looks towards +z.
"""

import math

import numpy as np

from pointssl_datasets.procedural.primitives import ellipsoid, revolve, rod, slab, sweep
from pointssl_datasets.procedural.randomness import Random
from pointssl_datasets.procedural.solids import (
    Array,
    Parts,
    Point,
    Solid,
    bezier,
    place,
    rotation,
    stretch,
)

CROWN, PEAK = 6, 7
BUD, BAND, WIRE = 16, 17, 18


def _brim(
    rng: Random, w: float, z: float, reach: float, y: float, drop: float, curve: float
) -> Parts:
    """A peak that leaves the rim of an oval crown towards +z and drops and curves sideways."""
    angle = np.linspace(-1, 1, 15) * rng.uniform(0.95, 1.3)
    s, c = np.sin(angle), np.cos(angle)
    out = reach * np.maximum(np.cos(angle * 1.15), 0.0) ** 0.6
    inner = np.stack([w * s, y - curve * s * s, z * c], 1)
    outer = np.stack([(w + 0.1 * out) * s, y - drop - curve * 1.5 * s * s, z * c + out], 1)
    mid = (inner + outer) / 2 + [0, drop * 0.2, 0]
    thick = (0.0, 0.02, 0.0)
    return [(PEAK, slab(inner, mid, thick)), (PEAK, slab(mid, outer, thick))]


def cap(rng: Random) -> Parts:
    """Baseball cap, kepi, flat cap, visor, or a hat with the brim all round."""
    kind = rng.choice("baseball", "baseball", "kepi", "flat", "visor", "hat")
    w, z, h = rng.uniform(0.38, 0.46), rng.uniform(0.42, 0.54), rng.uniform(0.28, 0.5)
    reach, drop, curve = rng.uniform(0.2, 0.5), rng.uniform(-0.02, 0.14), rng.uniform(0.0, 0.14)
    parts: Parts = []
    if kind == "baseball":
        parts.append((CROWN, ellipsoid((w, h, z), low=0.0, sides=20)))
        if rng.chance(0.6):
            parts.append((CROWN, ellipsoid((0.03, 0.02, 0.03), (0, h, 0), sides=8)))
        if rng.chance(0.5):
            band = revolve([(1.01, -0.06), (1.01, 0.04)], sides=20)
            parts.append((CROWN, stretch(band, (w, 1.0, z))))
    elif kind == "kepi":
        top, tall = rng.uniform(0.85, 1.3), h * 0.8
        line = [
            (1, 0),
            (1, tall * 0.45),
            (top, tall * 0.85),
            (top * 0.95, tall),
            (0, tall * rng.uniform(0.95, 1.1)),
        ]
        parts.append(
            (
                CROWN,
                place(
                    stretch(revolve(line, sides=20), (w, 1, z)),
                    (0, 0, 0),
                    rotation(x=rng.uniform(-0.15, 0.1)),
                ),
            )
        )
    elif kind == "flat":
        parts.append(
            (
                CROWN,
                ellipsoid(
                    (w * 1.15, h * 0.5, z * 1.2),
                    (0, 0.02, 0.03),
                    rotation(x=rng.uniform(0, 0.2)),
                    low=-0.3,
                    sides=20,
                ),
            )
        )
        reach *= 0.6
    elif kind == "visor":
        band = revolve([(1, 0), (1, rng.uniform(0.08, 0.18))], sides=24)
        parts.append((CROWN, stretch(band, (w, 1, z))))
    else:
        dome = bezier(
            (1, 0),
            (0.95, h * 0.6),
            (rng.uniform(0.6, 1.0), h * 1.2),
            (0, h * rng.uniform(0.8, 1.1)),
            9,
        )
        parts.append((CROWN, stretch(revolve(dome, sharp=False, sides=20), (w, 1, z))))
        flare = 1 + rng.uniform(0.25, 0.8)
        rim = revolve(
            [(0.98, 0.0), ((1 + flare) / 2, -drop * 0.3), (flare, -drop)], sharp=False, sides=24
        )
        parts.append((PEAK, stretch(rim, (w, 1, z))))
        return parts
    return parts + _brim(rng, w, z, reach, 0.0, drop, curve)


def earphone(rng: Random) -> Parts:
    """Headphones over the head, on-ear sets behind the neck, or buds on a wire."""
    return rng.choice(_headphones, _headphones, _buds, _neckband)(rng)


def _cup(rng: Random, r: float) -> Solid:
    """One ear cup around the origin, its cushion towards -x."""
    t, hole = r * rng.uniform(0.5, 0.9), rng.uniform(0.3, 0.6)
    line = [
        (hole * r, -t * 0.2),
        (hole * r, -t),
        (0.9 * r, -t),
        (r, -t * 0.5),
        (0.95 * r, 0),
        (0.7 * r, t * 0.4),
        (0, t * rng.uniform(0.4, 0.7)),
    ]
    shell = revolve(line, (0, 0, 0), (1, 0, 0), sharp=rng.chance(0.5))
    return stretch(shell, (1.0, rng.uniform(1.0, 1.35), 1.0))


def _cable(rng: Random, start: Point, drop: float) -> Array:
    a, b, c = (rng.uniform(-0.35, 0.35) for _ in range(3))
    x, y, z = start
    return bezier(
        start,
        (x + a * 0.3, y - drop * 0.4, z + b),
        (x * 0.5 + b, y - drop * 0.6, z - c),
        (c, y - drop, z + a),
        14,
    )


def _headphones(rng: Random) -> Parts:
    w, h, r = rng.uniform(0.4, 0.52), rng.uniform(0.45, 0.65), rng.uniform(0.15, 0.26)
    cup = _cup(rng, r)
    tilt = rng.uniform(0.0, 0.25)
    right = place(cup, (w, 0, 0), rotation(z=tilt, y=rng.uniform(-0.2, 0.2)))
    left = Solid(right.vertices * [-1, 1, 1], right.normals * [-1, 1, 1], right.faces)
    parts: Parts = [(BUD, right), (BUD, left)]
    a = np.linspace(-0.15, math.pi + 0.15, 18)
    wide, thin = rng.uniform(0.03, 0.09), rng.uniform(0.01, 0.025)
    arch = np.stack([w * 1.03 * np.cos(a), h * np.sin(a) + r * 0.4, 0 * a], 1)
    parts.append((BAND, sweep(arch, thin, wide, up=(0, 0, 1), sides=10, power=3.0)))
    if rng.chance(0.4):
        pad = arch[5:13] * [0.94, 0.94, 1]
        parts.append((BAND, sweep(pad, 0.03, wide * 1.2, up=(0, 0, 1), sides=10)))
    if rng.chance(0.45):
        parts.append(
            (
                WIRE,
                sweep(
                    _cable(rng, (w, -r, 0), rng.uniform(0.4, 1.0)),
                    0.014,
                    up=(0.1, 0.05, 1),
                    sides=6,
                ),
            )
        )
    if rng.chance(0.2):
        boom = bezier(
            (w, -r * 0.5, 0.1), (w, -r, 0.4), (w * 0.7, -r * 1.5, 0.5), (w * 0.3, -r * 1.5, 0.5), 8
        )
        parts += [
            (BUD, sweep(boom, 0.012, sides=6)),
            (BUD, ellipsoid((0.05, 0.03, 0.03), (w * 0.3, -r * 1.5, 0.5), sides=8)),
        ]
    return parts


def _buds(rng: Random) -> Parts:
    gap, drop, r = rng.uniform(0.15, 0.5), rng.uniform(0.5, 0.9), rng.uniform(0.07, 0.13)
    stem, join_y = rng.uniform(0.0, 0.3), -drop * rng.uniform(0.5, 0.8)
    parts: Parts = []
    for s in (-1, 1):
        turn = rotation(z=s * rng.uniform(-0.5, 0.5), y=rng.uniform(-0.6, 0.6))
        at = (s * gap, rng.uniform(-0.1, 0.1), rng.uniform(-0.1, 0.1))
        parts.append((BUD, place(ellipsoid((r * 0.7, r, r), sides=12), at, turn)))
        tip = rod((0, 0, 0), (-s * r * 1.5, 0, r * 0.3), r * 0.6, r * 0.4, sides=10)
        parts.append((BUD, place(tip, at, turn)))
        if stem > 0.08:
            parts.append(
                (BUD, place(rod((0, -r * 0.5, 0), (0, -stem, 0), r * 0.3, sides=8), at, turn))
            )
        path = bezier(
            (at[0], at[1] - max(stem, r) * 0.9, at[2]),
            (s * gap, join_y * 0.5, rng.uniform(-0.2, 0.2)),
            (s * 0.1, join_y * 0.7, 0),
            (0, join_y, 0),
            12,
        )
        parts.append((WIRE, sweep(path, 0.014, up=(0.1, 0.05, 1), sides=6)))
    parts.append(
        (WIRE, sweep(_cable(rng, (0, join_y, 0), drop), 0.014, up=(0.1, 0.05, 1), sides=6))
    )
    return parts


def _neckband(rng: Random) -> Parts:
    w, z, r = rng.uniform(0.35, 0.45), rng.uniform(0.35, 0.6), rng.uniform(0.08, 0.16)
    a = np.linspace(0, math.pi, 16)
    dip = rng.uniform(0.0, 0.25)
    arch = np.stack([w * np.cos(a), -dip * np.sin(a), -z * np.sin(a)], 1)
    parts: Parts = [
        (BAND, sweep(arch, rng.uniform(0.015, 0.03), rng.uniform(0.015, 0.05), sides=8))
    ]
    cup = _cup(rng, r)
    right = place(cup, (w, 0, 0.02))
    parts.append((BUD, right))
    parts.append((BUD, Solid(right.vertices * [-1, 1, 1], right.normals * [-1, 1, 1], right.faces)))
    for s in (-1, 1):
        hook = bezier(
            (s * w, r * 0.5, 0),
            (s * w, r * 2.2, 0.05),
            (s * w, r * 2.2, -0.25),
            (s * w, -0.02, -0.15),
            10,
        )
        parts.append((BAND, sweep(hook, 0.014, up=(1, 0, 0), sides=6)))
    if rng.chance(0.5):
        parts.append(
            (
                WIRE,
                sweep(
                    _cable(rng, (w, -r * 0.5, 0), rng.uniform(0.5, 0.9)),
                    0.014,
                    up=(0.1, 0.05, 1),
                    sides=6,
                ),
            )
        )
    return parts
