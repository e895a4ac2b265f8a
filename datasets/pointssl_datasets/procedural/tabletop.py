"""Procedural mugs (handle 36, cup 37), laptops (keyboard 28, screen 29) and knives (blade 22,
handle 23)."""

import itertools

import numpy as np

from pointssl_datasets.procedural.primitives import box, ellipsoid, fin, revolve, rod, slab, sweep
from pointssl_datasets.procedural.randomness import Random
from pointssl_datasets.procedural.solids import Parts, Solid, bezier, place, rotation

EAR, CUP = 36, 37
KEYBOARD, SCREEN = 28, 29
BLADE, HILT = 22, 23


def mug(rng: Random) -> Parts:
    """Straight, tapered, barrel, bell or footed cup; round, pointed or square handle, or two."""
    h, low, wall = rng.uniform(0.6, 1.3), rng.uniform(0.3, 0.5), rng.uniform(0.02, 0.05)
    high = low * rng.uniform(0.8, 1.35)
    kind = rng.choice("straight", "barrel", "bell", "footed")
    if kind == "straight":
        outer = [(low, 0.0), (high, h)]
    elif kind == "barrel":
        belly = max(low, high) * rng.uniform(1.1, 1.35)
        outer = bezier((low, 0), (belly, h * 0.3), (belly, h * 0.7), (high, h), 8).tolist()
    elif kind == "bell":
        outer = bezier(
            (low * 0.7, 0), (low * 1.5, h * 0.15), (high * 0.8, h * 0.6), (high * 1.15, h), 9
        ).tolist()
    else:
        foot = bezier(
            (low * 0.4, h * 0.12), (low * 1.4, h * 0.2), (high, h * 0.6), (high, h), 8
        ).tolist()
        outer = [(low * 0.7, 0.0), (low * 0.65, h * 0.03), (low * 0.35, h * 0.08), *foot]
    inner = [
        (max(r - wall, 0.02), max(y, h * 0.06 + (h * 0.1 if kind == "footed" else 0)))
        for r, y in reversed(outer)
        if y > h * 0.1 or kind == "straight"
    ]
    line = [(0.0, 0.0), *outer, *inner, (0.0, inner[-1][1])]
    parts: Parts = [(CUP, revolve(line, sharp=kind in ("straight", "footed"), sides=24))]
    if kind in ("barrel", "bell"):
        # Smooth walls, but creases at the lip and the foot.
        curves = [
            outer,
            [*inner, (0.0, inner[-1][1])],
            [outer[-1], inner[0]],
            [(0.0, 0.0), outer[0]],
        ]
        parts = [(CUP, revolve(c, sharp=False, sides=24)) for c in curves]
    heights, radii = [y for _, y in outer], [r for r, _ in outer]
    y0, y1 = h * rng.uniform(0.12, 0.35), h * rng.uniform(0.65, 0.92)
    a, b = (float(np.interp(y, heights, radii)) - 0.01 for y in (y0, y1))
    reach, r, form = (
        rng.uniform(0.2, 0.42),
        rng.uniform(0.03, 0.06),
        rng.choice("round", "ear", "square"),
    )
    for s in (-1, 1) if rng.chance(0.1) else (1,):
        if form == "square":
            out = max(a, b) + reach * 0.7
            corners = [(s * b, y1, 0), (s * out, y1, 0), (s * out, y0, 0), (s * a, y0, 0)]
            for p, q in itertools.pairwise(corners):
                parts.append((EAR, sweep([p, q], r, up=(0, 0, 1), power=5.0)))
            continue
        drop = 0.0 if form == "round" else rng.uniform(0.1, 0.25)
        path = bezier(
            (s * b, y1, 0),
            (s * (b + reach * 1.3), y1 + drop, 0),
            (s * (a + reach * (1.3 - 3 * drop)), y0 - 0.05, 0),
            (s * a, y0, 0),
            14,
        )
        parts.append((EAR, sweep(path, r, r * rng.uniform(0.8, 1.8), up=(0, 0, 1), sides=12)))
    return parts


def laptop(rng: Random) -> Parts:
    """Thin or thick, wide or square, from nearly shut to flat open, hinged behind or on a stand."""
    w, z = 1.0, rng.uniform(0.58, 0.82)
    thick, lid = rng.uniform(0.025, 0.11), rng.uniform(0.015, 0.05)
    angle = (
        rng.uniform(1.2, 2.4)
        if rng.chance(0.8)
        else rng.choice(rng.uniform(0.4, 0.9), rng.uniform(2.6, 3.1))
    )
    front = rng.uniform(0.5, 1.0)
    side = [(-w / 2, -z / 2), (-w / 2, z / 2)]
    base = [(x, thick / 2 if q < 0 else thick / 2 * front, q) for x, q in side]
    heights = [(0, thick, 0), (0, thick * front, 0)]
    parts: Parts = [(KEYBOARD, slab(base, [(-x, y, q) for x, y, q in base], heights))]
    style = rng.choice("keys", "tray", "plain")
    if style == "keys":
        rows, columns = rng.integer(4, 5), rng.integer(6, 9)
        gap, deep = 0.86 * w / columns, 0.5 * z / rows
        for i in range(rows):
            parts.append(
                (
                    KEYBOARD,
                    box((0.84 * w, 0.02, deep * 0.75), (0, thick, -0.4 * z + (i + 0.5) * deep)),
                )
            )
        for i in range(columns - 1):
            parts.append(
                (
                    KEYBOARD,
                    box((gap * 0.15, 0.03, 0.5 * z), (-0.43 * w + (i + 1) * gap, thick, -0.15 * z)),
                )
            )
    if style != "plain":
        parts.append(
            (KEYBOARD, box((0.25 * w, 0.012, 0.2 * z), (0, thick * (1 + 3 * front) / 4, 0.33 * z)))
        )
    # The lid turns about the hinge at the rear edge; angle 0 is shut.
    tall = z * rng.uniform(0.9, 1.02)
    hinge = (0.0, thick + lid * 0.3, -z / 2 - lid * 0.2)
    turn = rotation(x=-angle)
    panel = box((w * rng.uniform(0.95, 1.0), lid, tall), (0, lid / 2, tall / 2))
    parts.append((SCREEN, place(panel, hinge, turn)))
    if rng.chance(0.6):
        rim = rng.uniform(0.02, 0.06)
        for s in (-1, 1):
            parts.append(
                (
                    SCREEN,
                    place(
                        box((rim, 0.02, tall), (s * (w - rim) / 2, -0.005, tall / 2)), hinge, turn
                    ),
                )
            )
            at = (0.0, -0.005, tall / 2 + s * (tall - rim) / 2)
            parts.append((SCREEN, place(box((w, 0.02, rim), at), hinge, turn)))
    if rng.chance(0.6):
        for x in (-0.35, 0.35):
            ends = ((x - 0.08, hinge[1], hinge[2]), (x + 0.08, hinge[1], hinge[2]))
            parts.append((SCREEN, rod(*ends, 0.02 + lid * 0.3, sides=10)))
    if rng.chance(0.25):
        parts.append((KEYBOARD, box((0.5, thick, 0.12), (0, -thick * 0.5, -z * 0.3))))
    return parts


def knife(rng: Random) -> Parts:
    """Chef's knife, dagger, cleaver, bread knife, curved blade or kukri; blade along +x."""
    kind = rng.choice("chef", "dagger", "cleaver", "bread", "curved", "kukri", "tanto")
    long, wide = rng.uniform(0.5, 0.75), rng.uniform(0.045, 0.09)
    t = np.linspace(0, 1, 14)
    zero, one = 0 * t, np.ones(14)
    # Back and edge of the blade as heights over its length, in units of its half-width.
    if kind == "chef":
        back, edge = 0.7 * one - 0.5 * t**3, -1.5 * np.sqrt(np.maximum(1 - t**2.2, 0)) + 0.2 * t
    elif kind == "dagger":
        point = np.minimum(1, (1 - t) * rng.uniform(1.3, 4.0))
        back, edge = point * 0.9, -point * 0.9
    elif kind == "cleaver":
        back, edge = 0.8 * one, -2.2 * one + 0.3 * t
        wide, long = wide * 1.3, long * 0.8
    elif kind == "bread":
        back, edge = 0.6 * one, -0.6 * one - 0.08 * np.cos(t * 60)
        back = back - 1.0 * np.maximum(t - 0.9, 0) * 10
    elif kind == "curved":
        bow = rng.uniform(1.0, 3.0) * t * t
        back, edge = bow + 0.7 * (1 - t**4), bow - 0.7 * (1 - t**3)
    elif kind == "kukri":
        bow = -2.0 * np.sin(t * 2.2) * t
        back, edge = bow + 0.7 * (1 - t**6), bow - (0.6 + 1.2 * np.sin(np.pi * t) * t) * (1 - t**5)
    else:
        back, edge = 0.6 * one, -0.8 * one + 1.4 * np.maximum(t - 0.75, 0) * 4
    x = t * long
    lead, trail = np.stack([x, back * wide, zero], 1), np.stack([x, edge * wide, zero], 1)
    thick = rng.uniform(0.012, 0.03)
    if kind == "dagger":
        blade = fin(lead, trail, thick * 1.5 * (1.05 - t), (0, 0, 1), sides=8)
    else:
        blade = slab(lead, trail, (0, 0, thick))
    parts: Parts = [(BLADE, blade)]
    grip, tilt, deep = rng.uniform(0.28, 0.48), rng.uniform(-0.25, 0.12), rng.uniform(0.028, 0.05)
    bend = rng.uniform(-0.04, 0.05)
    path = bezier(
        (0.01, 0, 0), (-grip * 0.3, bend, 0), (-grip * 0.7, bend, 0), (-grip, grip * tilt, 0), 9
    )
    swell = deep * (
        1 + rng.uniform(0, 0.35) * np.array([0, 0.2, 0.1, -0.2, -0.3, -0.1, 0.3, 0.8, 0.5])
    )
    parts.append(
        (
            HILT,
            sweep(
                path, swell * rng.uniform(0.45, 0.9), swell, power=rng.choice(2.0, 4.0), sides=14
            ),
        )
    )
    if kind == "dagger" or rng.chance(0.3):
        guard = rng.uniform(0.07, 0.14)
        parts.append(
            (HILT, sweep([(0, -guard, 0), (0, guard, 0)], 0.025, 0.02, up=(0, 0, 1), sides=8))
        )
    if rng.chance(0.3):
        parts.append((HILT, ellipsoid((0.05, 0.05, 0.04), (-grip, grip * tilt, 0), sides=10)))
    if kind in ("dagger", "curved") and rng.chance(0.25):
        parts[0] = (BLADE, Solid(blade.vertices * [1.6, 1, 1], blade.normals, blade.faces))
    return parts
