"""Procedural cars: roof 8, hood 9, wheel 10, body 11. Forward is +x."""

import numpy as np

from pointssl_datasets.procedural.primitives import (
    box,
    ellipsoid,
    rod,
    slab,
    sweep,
    wheel,
)
from pointssl_datasets.procedural.randomness import Random
from pointssl_datasets.procedural.solids import Parts, Point

ROOF, HOOD, TYRE, BODY = 8, 9, 10, 11


def car(rng: Random) -> Parts:
    """Saloon, hatchback, off-roader, pick-up, van, sports car or open racing car."""
    kinds = ("saloon", "saloon", "hatchback", "offroad", "pickup", "van", "sports", "racer")
    kind = rng.choice(*kinds)
    return _racer(rng) if kind == "racer" else _closed_car(rng, kind)


# kind: heights of floor, belt line and roof; x of windscreen foot and top, rear top and foot
_CARS = {
    "saloon": ((0.08, 0.26, 0.42), (0.20, 0.06, -0.20, -0.34)),
    "hatchback": ((0.08, 0.28, 0.46), (0.24, 0.08, -0.38, -0.47)),
    "offroad": ((0.13, 0.34, 0.56), (0.20, 0.12, -0.44, -0.48)),
    "pickup": ((0.13, 0.32, 0.54), (0.20, 0.10, -0.06, -0.10)),
    "van": ((0.09, 0.32, 0.62), (0.38, 0.24, -0.47, -0.49)),
    "sports": ((0.05, 0.20, 0.32), (0.14, -0.04, -0.18, -0.40)),
}


def _closed_car(rng: Random, kind: str) -> Parts:
    (floor, belt, top), (foot, screen, rear, tail) = _CARS[kind]
    w = rng.uniform(0.36, 0.46)
    belt, top = belt * rng.uniform(0.92, 1.08), top * rng.uniform(0.92, 1.08)
    foot, screen, rear = (a + rng.uniform(-0.03, 0.03) for a in (foot, screen, rear))
    snout, boot = belt * rng.uniform(0.72, 0.92), belt * rng.uniform(0.85, 1.0)
    # The lower body: boxy sections along the car; the bonnet and the cabin sit on it.
    x = np.array([-0.5, -0.47, tail, -0.1, foot, 0.45, 0.5])
    high = np.array([boot * 0.9, boot, belt, belt, belt, snout, snout * 0.85])
    low = np.array([floor * 1.8, floor, floor, floor, floor, floor, floor * 1.6])
    path = np.stack([x, (high + low) / 2, 0 * x], 1)
    narrow = np.array([0.86, 0.95, 1.0, 1.0, 1.0, 0.94, 0.8]) * w / 2
    parts: Parts = [(BODY, sweep(path, narrow, (high - low) / 2, power=5.0, sides=20))]
    inner, upper = w * 0.46, w * rng.uniform(0.32, 0.42)

    def row(a: float, y: float, half: float) -> tuple[Point, Point]:
        return (a, y, -half), (a, y, half)

    # The hood follows the top of the body, a finger above it.
    hood = [
        row(a, y + 0.012, 0.92 * inner)
        for a, y in ((foot, belt), ((foot + 0.45) / 2, (belt + snout) / 2 + 0.008), (0.46, snout))
    ]
    parts.append((HOOD, slab([a for a, _ in hood], [b for _, b in hood], (0, 0.016, 0))))
    # The cabin: screens and side windows belong to the body, its lid is the roof.
    corners = [
        row(foot, belt, inner),
        row(screen, top, upper),
        row(rear, top, upper),
        row(tail, belt, inner),
    ]
    thin = (0.008, 0.008, 0.0)
    for a, b in ((0, 1), (2, 3)):
        parts.append(
            (BODY, slab((corners[a][0], corners[b][0]), (corners[a][1], corners[b][1]), thin))
        )
    for s in (0, 1):
        ahead, behind = (corners[0][s], corners[1][s]), (corners[3][s], corners[2][s])
        parts.append((BODY, slab(ahead, behind, (0, 0, 0.01))))
    bulge = rng.uniform(0.0, 0.02)
    lid = [
        row(screen, top, upper),
        row((screen + rear) / 2, top + bulge, upper),
        row(rear, top, upper),
    ]
    parts.append((ROOF, slab([a for a, _ in lid], [b for _, b in lid], (0, 0.015, 0))))
    if kind == "pickup":
        for s in (-1, 1):
            parts.append((BODY, box((0.38, 0.07, 0.02), (-0.29, belt + 0.03, s * w * 0.46))))
    if kind in ("sports", "saloon") and rng.chance(0.4):
        parts.append((BODY, box((0.05, 0.012, w * 0.9), (-0.46, belt + 0.07, 0))))
        parts += [
            (BODY, box((0.03, 0.08, 0.015), (-0.46, belt + 0.03, s * w * 0.3))) for s in (-1, 1)
        ]
    if kind in ("offroad", "van") and rng.chance(0.4):
        parts += [
            (
                ROOF,
                rod((screen, top + 0.03, s * upper), (rear, top + 0.03, s * upper), 0.008, sides=6),
            )
            for s in (-0.8, 0.8)
        ]
    if kind == "offroad" and rng.chance(0.5):
        parts.append((TYRE, wheel((-0.53, belt * 0.9, 0), (1, 0, 0), 0.1, 0.05)))
    if rng.chance(0.6):
        parts += [
            (BODY, ellipsoid((0.02, 0.02, 0.03), (foot - 0.03, belt + 0.02, s * w * 0.55), sides=8))
            for s in (-1, 1)
        ]
    r = floor * 0.45 + rng.uniform(0.055, 0.075)
    front, back, wide = rng.uniform(0.29, 0.34), rng.uniform(-0.34, -0.28), rng.uniform(0.05, 0.08)
    for x0 in (front, back):
        for s in (-1, 1):
            parts.append(
                (TYRE, wheel((x0, r, s * w * 0.47), (0, 0, s), r, wide, rng.uniform(0.5, 0.7)))
            )
    return parts


def _racer(rng: Random) -> Parts:
    """An open single-seater: the engine cover counts as roof, the nose as hood."""
    w, y, r = rng.uniform(0.09, 0.13), rng.uniform(0.09, 0.12), rng.uniform(0.075, 0.1)
    path = [(-0.45, y, 0), (-0.2, y, 0), (0.05, y, 0), (0.2, y, 0)]
    parts: Parts = [
        (BODY, sweep(path, (w, 1.6 * w, 1.5 * w, 0.8 * w), (0.06, 0.07, 0.07, 0.05), power=4))
    ]
    parts.append(
        (
            HOOD,
            sweep(
                [(0.2, y, 0), (0.38, y * 0.9, 0), (0.5, y * 0.7, 0)],
                (0.8 * w, 0.5 * w, 0.25 * w),
                (0.05, 0.035, 0.02),
                power=3,
            ),
        )
    )
    parts.append((ROOF, ellipsoid((0.2, 0.1, 0.055), (-0.2, y + 0.06, 0), sides=12)))
    for x, tall, half in ((0.48, 0.05, 0.2), (-0.46, rng.uniform(0.22, 0.3), 0.17)):
        parts.append((BODY, box((0.08, 0.012, 2 * half), (x, tall, 0))))
        parts += [(BODY, box((0.09, 0.07, 0.01), (x, tall, s * half))) for s in (-1, 1)]
    for x in (0.3, -0.34):
        for s in (-1, 1):
            parts.append((TYRE, wheel((x, r, s * 0.2), (0, 0, s), r, rng.uniform(0.07, 0.1))))
            parts.append((BODY, rod((x, r, 0), (x, r, s * 0.17), 0.008, sides=6)))
    return parts
