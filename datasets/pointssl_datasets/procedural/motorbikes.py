"""Procedural motorbikes: tank 30, seat 31, wheel 32, handle 33, light 34, frame 35."""

import math

import numpy as np

from pointssl_datasets.procedural.primitives import (
    box,
    ellipsoid,
    revolve,
    rod,
    slab,
    sweep,
    wedge,
    wheel,
)
from pointssl_datasets.procedural.randomness import Random
from pointssl_datasets.procedural.solids import Parts, Point, Solid, bezier, join, rotation

TANK, SEAT, WHEEL, HANDLE, LIGHT, FRAME = range(30, 36)


def motorbike(rng: Random) -> Parts:
    """Cruiser, sports bike, scooter, dirt bike or roadster, by proportions and cladding."""
    kind = rng.choice("cruiser", "sport", "scooter", "dirt", "roadster")
    r = {"scooter": 0.12, "dirt": 0.21}.get(kind, 0.18) * rng.uniform(0.9, 1.1)
    rake = {"cruiser": 0.22, "sport": 0.1}.get(kind, 0.14) * rng.uniform(0.8, 1.2)
    front, back = 0.36 + rng.uniform(-0.05, 0.14), -0.34 + rng.uniform(-0.08, 0.03)
    head = (front - rake, rng.uniform(0.46, 0.62), 0.0)
    wide = rng.uniform(0.045, 0.11) * (0.7 if kind == "dirt" else 1.0)
    slim = rng.uniform(0.5, 1.0)  # the front tyre's width as a share of the rear one's
    parts: Parts = [
        (WHEEL, _bike_wheel(rng, (front, r, 0), r, wide * slim)),
        (WHEEL, _bike_wheel(rng, (back, r, 0), r, wide)),
    ]
    for s in (-1, 1):
        z = s * (wide / 2 + 0.015)
        parts.append((FRAME, rod((front, r, z), (head[0], head[1], z), 0.013, sides=8)))
        parts.append((FRAME, rod((back, r, z), (0.0, 0.2, z), 0.015, sides=8)))
        parts.append((FRAME, rod((back, r, z), (back + 0.12, 0.4, z), 0.01, sides=6)))
    reach, rise = (
        rng.uniform(0.13, 0.2),
        {"cruiser": 0.12, "sport": -0.02}.get(kind, 0.05) * rng.uniform(0.6, 1.4),
    )
    for s in (-1, 1):
        grip = bezier(
            head,
            (head[0], head[1] + rise, s * 0.05),
            (head[0], head[1] + rise, s * reach * 0.7),
            (head[0] - 0.09, head[1] + rise * 0.8, s * reach),
            8,
        )
        parts.append((HANDLE, sweep(grip, (0.011,) * 6 + (0.016,) * 2, up=(1, 0.3, 0), sides=8)))
        if rng.chance(0.5):
            parts.append(
                (
                    HANDLE,
                    ellipsoid(
                        (0.006, 0.02, 0.03),
                        (head[0], head[1] + rise + 0.07, s * reach * 0.9),
                        sides=8,
                    ),
                )
            )
    high = rng.uniform(0.34, 0.44) if kind != "cruiser" else rng.uniform(0.28, 0.34)
    parts += _saddle(rng, kind, high)
    if rng.chance(0.25):  # luggage
        parts.append((FRAME, box((0.15, 0.15, 0.22), (back - 0.04, high + 0.13, 0))))
    if rng.chance(0.25):
        parts += [(FRAME, box((0.2, 0.14, 0.07), (back + 0.02, 0.36, s * 0.14))) for s in (-1, 1)]
    if kind == "scooter":
        parts.append(
            (
                FRAME,
                slab(
                    [(0.2, 0.13, -0.13), (0.24, 0.5, -0.13)],
                    [(0.2, 0.13, 0.13), (0.24, 0.5, 0.13)],
                    (0.025, 0, 0),
                ),
            )
        )
        parts.append((FRAME, box((0.3, 0.03, 0.2), (0.07, 0.13, 0))))
        parts.append((FRAME, ellipsoid((0.22, 0.12, 0.09), (-0.24, 0.26, 0), sides=12)))
        parts.append((TANK, ellipsoid((0.1, 0.05, 0.07), (-0.05, 0.26, 0), sides=10)))
    else:
        long, fat = rng.uniform(0.13, 0.17), rng.uniform(0.055, 0.085)
        parts.append(
            (
                TANK,
                ellipsoid(
                    (long, fat * 0.9, fat), (0.08, high + 0.06, 0), rotation(z=0.15), sides=12
                ),
            )
        )
        parts.append(
            (FRAME, rod((head[0], head[1] - 0.03, 0), (-0.1, high - 0.02, 0), 0.022, sides=8))
        )
        parts.append((FRAME, rod((head[0], head[1] - 0.08, 0), (0.1, 0.13, 0), 0.018, sides=8)))
        parts.append((FRAME, rod((0.1, 0.13, 0), (-0.12, 0.14, 0), 0.018, sides=8)))
        parts.append((FRAME, wedge((0.16, 0.13, 0.12), (0.0, 0.2, 0), top=(1.2, 0.9))))
        parts.append((FRAME, rod((0.06, 0.27, 0), (0.1, 0.34, 0), 0.05, sides=10)))
        for s in (-1, 1) if rng.chance(0.5) else (rng.choice(-1, 1),):
            lift = 0.12 if kind in ("dirt", "sport") else 0.0
            parts.append(
                (
                    FRAME,
                    rod(
                        (0.0, 0.12, s * 0.09), (-0.42, 0.13 + lift, s * 0.1), 0.018, 0.026, sides=8
                    ),
                )
            )
    if kind == "sport" or (kind == "scooter" and rng.chance(0.3)):
        parts.append(
            (
                FRAME,
                ellipsoid(
                    (0.15, 0.14, 0.1), (head[0] - 0.02, head[1] - 0.06, 0), low=-0.4, sides=14
                ),
            )
        )
    if kind != "dirt" or rng.chance(0.5):
        size = rng.uniform(0.035, 0.055)
        parts.append(
            (
                LIGHT,
                revolve(
                    [(0, 0), (size, 0), (size * 0.9, -0.03), (0, -0.06)][::-1],
                    (head[0] + 0.08, head[1] - 0.03, 0),
                    (1, 0, 0),
                    sharp=False,
                    sides=12,
                ),
            )
        )
        if rng.chance(0.7):
            parts.append((LIGHT, box((0.02, 0.03, 0.06), (back - 0.12, high + 0.03, 0))))
    for x in (front, back):
        if rng.chance(0.7):
            lift, spread = 0.06 if kind == "dirt" and x > 0 else 0.02, rng.uniform(0.5, 1.0)
            path = [
                (x + (r + lift) * math.cos(a), r + (r + lift) * math.sin(a), 0)
                for a in np.linspace(math.pi / 2 - spread, math.pi / 2 + spread, 8)
            ]
            parts.append(
                (
                    FRAME,
                    slab(
                        [(a, b, -wide * 0.6) for a, b, _ in path],
                        [(a, b, wide * 0.6) for a, b, _ in path],
                        (0, 0.01, 0),
                    ),
                )
            )
    return parts


def _bike_wheel(rng: Random, at: Point, r: float, wide: float) -> Solid:
    """A tyre that is a ring with spokes, or a disc."""
    if rng.chance(0.35):
        return wheel(at, (0, 0, 1), r, wide, rng.uniform(0.6, 0.75))
    h, t = wide / 2, rng.uniform(0.16, 0.28) * r
    inner = r - t
    tyre = revolve(
        [
            (inner, h * 0.7),
            (inner, -h * 0.7),
            (r - 0.5 * t, -h),
            (r, 0),
            (r - 0.5 * t, h),
            (inner, h * 0.7),
        ],
        at,
        (0, 0, 1),
        sharp=False,
        sides=24,
    )
    x, y, z = at
    spokes = [tyre, rod((x, y, z - h), (x, y, z + h), 0.2 * r, sides=8)]
    count, start = rng.integer(3, 7), rng.uniform(0, 1)
    for i in range(count):
        a = start + 2 * math.pi * i / count
        spokes.append(rod(at, (x + inner * math.cos(a), y + inner * math.sin(a), z), 0.01, sides=5))
    return join(*spokes)


def _saddle(rng: Random, kind: str, high: float) -> Parts:
    w, end = rng.uniform(0.05, 0.09), rng.uniform(-0.36, -0.26)
    rise = rng.uniform(0.0, 0.09) if kind != "cruiser" else rng.uniform(-0.03, 0.03)
    path = bezier(
        (0.0, high + 0.02, 0),
        (-0.1, high - 0.02, 0),
        (end * 0.7, high, 0),
        (end, high + rise, 0),
        8,
    )
    width = w * np.array([0.5, 0.8, 1.0, 1.1, 1.1, 1.1, 1.0, 0.7])
    parts: Parts = [(SEAT, sweep(path, width, 0.03, power=3.0, sides=12))]
    if kind == "cruiser" and rng.chance(0.5):
        parts.append((SEAT, box((0.03, 0.14, 1.6 * w), (end - 0.02, high + rise + 0.08, 0))))
    parts.append(
        (
            FRAME,
            sweep(
                [(-0.05, high - 0.05, 0), (end - 0.08, high + rise - 0.03, 0)],
                w * 0.6,
                0.02,
                sides=8,
            ),
        )
    )
    return parts
