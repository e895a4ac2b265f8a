"""Procedural skateboards: wheel 44, deck 45, belt 46. The deck lies along x."""

import math

import numpy as np

from pointssl_datasets.procedural.primitives import (
    box,
    rod,
    slab,
    wedge,
    wheel,
)
from pointssl_datasets.procedural.randomness import Random
from pointssl_datasets.procedural.solids import Parts

ROLLER, DECK, BELT = 44, 45, 46


def skateboard(rng: Random) -> Parts:
    """Kicked both ends, kicked tail only, flat longboard, pintail or square cruiser."""
    long, w = 1.0, rng.uniform(0.09, 0.24)
    nose, tail = (
        rng.choice(0.0, rng.uniform(0.04, 0.18)),
        rng.choice(0.0, rng.uniform(0.04, 0.2), rng.uniform(0.05, 0.15)),
    )
    dip, blunt = rng.uniform(-0.05, 0.05), rng.uniform(2.0, 8.0)
    r, wide = rng.uniform(0.03, 0.065), rng.uniform(0.04, 0.09)
    y = max(rng.uniform(0.09, 0.19), 2 * r + 0.03)
    u = np.linspace(-1, 1, 17)
    edge = np.abs(u)
    half = w * (1 - edge**blunt) ** (1 / rng.uniform(2.0, 3.0)) + 0.01
    if rng.chance(0.25):
        half *= np.linspace(rng.uniform(0.45, 0.8), 1.05, 17)
    if rng.chance(0.2):
        half *= 1 - rng.uniform(0.15, 0.35) * np.exp(-((u / 0.35) ** 2))
    bend = np.maximum(edge - 0.62, 0) / 0.38
    rise = y + dip * (1 - u * u) + np.where(u > 0, nose, tail) * bend**1.3
    cup = rng.uniform(0.0, 0.012)
    left, middle, right = (
        np.stack([u * long / 2, rise + cup * (s != 0), s * half], 1) for s in (-1, 0, 1)
    )
    thick = (0.0, rng.uniform(0.015, 0.03), 0.0)
    parts: Parts = [(DECK, slab(left, middle, thick)), (DECK, slab(middle, right, thick))]
    axle, track = rng.uniform(0.22, 0.4), min(w, 0.15) * rng.uniform(0.65, 0.95)
    for x in (-axle, axle):
        parts.append((DECK, box((0.11, 0.012, 0.09), (x, y - 0.02, 0))))
        parts.append(
            (DECK, wedge((0.04, y - r - 0.01, 0.1), (x, (y + r) / 2 - 0.01, 0), top=(1.8, 0.6)))
        )
        parts.append((ROLLER, rod((x, r, -track), (x, r, track), 0.01, sides=6)))
        parts += [(ROLLER, wheel((x, r, s * track), (0, 0, s), r, wide, 0.35)) for s in (-1, 1)]
    if rng.chance(0.4):
        tall = rng.uniform(0.05, 0.1)
        for x in (axle * 0.8, -axle * 0.8) if rng.chance(0.5) else (rng.choice(-axle, axle) * 0.8,):
            strap = [
                (0, y + 0.01 + tall * math.sin(a), -w * math.cos(a) * 0.85)
                for a in np.linspace(0, math.pi, 9)
            ]
            half_wide = rng.uniform(0.02, 0.05)
            parts.append(
                (
                    BELT,
                    slab(
                        [(x - half_wide, b, c) for _, b, c in strap],
                        [(x + half_wide, b, c) for _, b, c in strap],
                        (0, 0.012, 0),
                    ),
                )
            )
    return parts
