"""Procedural pistols (barrel 38, handle 39, trigger 40) and guitars (head 19, neck 20, body 21)."""

import math

import numpy as np

from pointssl_datasets.procedural.primitives import box, revolve, rod, slab, sweep, wedge
from pointssl_datasets.procedural.randomness import Random
from pointssl_datasets.procedural.solids import Array, Parts, Solid, bezier, place, rotation

BARREL, GRIP, TRIGGER = 38, 39, 40
HEAD, NECK, BODY = 19, 20, 21


def pistol(rng: Random) -> Parts:
    """Automatic, revolver, flintlock, machine pistol or ray gun; the muzzle points to +x."""
    kind = rng.choice("automatic", "automatic", "revolver", "flintlock", "machine", "ray")
    long, w, h = rng.uniform(0.6, 0.95), rng.uniform(0.07, 0.12), rng.uniform(0.1, 0.17)
    lean, grip = rng.uniform(0.1, 0.45), rng.uniform(0.32, 0.48)
    parts: Parts = []
    if kind == "automatic":
        parts.append((BARREL, sweep([(0, 0, 0), (long, 0, 0)], w / 2, h / 2, power=6.0, sides=16)))
        parts.append((BARREL, wedge((long * 0.75, h * 0.6, w * 0.85), (long * 0.38, -h * 0.7, 0))))
        if rng.chance(0.35):
            parts.append(
                (
                    BARREL,
                    rod(
                        (long, 0.1 * h, 0),
                        (long + rng.uniform(0.08, 0.45), 0.1 * h, 0),
                        rng.uniform(0.2, 0.45) * h,
                    ),
                )
            )
    elif kind == "revolver":
        parts.append((BARREL, rod((0.3, 0.02, 0), (long, 0.02, 0), h * 0.32)))
        parts.append((BARREL, rod((0.14, -0.02, 0), (0.34, -0.02, 0), h * 0.65, sides=14)))
        parts.append((BARREL, box((0.4, 0.04, w * 0.6), (0.19, h * 0.6, 0))))
        parts.append((BARREL, box((0.35, 0.04, w * 0.6), (0.18, -h * 0.85, 0))))
        parts.append((BARREL, box((0.14, h * 1.3, w * 0.7), (0.06, -h * 0.1, 0))))
    elif kind == "flintlock":
        parts.append((BARREL, rod((0.05, 0.03, 0), (long * 1.1, 0.03, 0), h * 0.35, h * 0.25)))
        parts.append(
            (GRIP, sweep([(0.0, -0.04, 0), (long * 0.8, -0.03, 0)], w * 0.45, 0.035, sides=10))
        )
    elif kind == "machine":
        parts.append((BARREL, box((long * 0.8, h * 1.3, w), (long * 0.36, -0.01, 0))))
        parts.append((BARREL, rod((long * 0.7, 0, 0), (long * 1.1, 0, 0), h * 0.25)))
        tall = rng.uniform(0.2, 0.45)
        parts.append(
            (
                GRIP,
                wedge(
                    (0.1, tall, w * 0.7),
                    (long * 0.5, -h * 0.6 - tall / 2, 0),
                    top=(1.0, 1.0),
                    shift=(-0.05, 0),
                ),
            )
        )
    else:
        line = [
            (0.02, 0),
            (h * 0.8, 0.1),
            (h * 0.9, 0.3),
            (h * 0.35, 0.5),
            (h * 0.25, long),
            (0, long),
        ]
        parts.append((BARREL, revolve(line, (0, 0, 0), (1, 0, 0), sharp=False)))
        parts += [
            (
                BARREL,
                revolve(
                    [(0.02, x), (h * 0.6, x), (h * 0.6, x + 0.02), (0.02, x + 0.02)],
                    (0, 0, 0),
                    (1, 0, 0),
                ),
            )
            for x in (0.55 * long, 0.75 * long)
        ]
    foot = np.array([-lean * grip, -grip - h * 0.4, 0.0])
    if kind in ("flintlock", "revolver"):
        path = bezier(
            (0.06, -h * 0.2, 0),
            (-0.12, -h * 0.3, 0),
            (-0.04, -grip * 0.6, 0),
            foot + np.array([-0.06, 0.05, 0.0]),
            9,
        )
        swell = np.linspace(0.055, 0.085, 9)
        parts.append((GRIP, sweep(path, swell, w * 0.42, up=(0, 0, 1), power=3.0)))
    else:
        path = np.array([(0.12, -h * 0.4, 0), foot + np.array([0.1, 0, 0])])
        parts.append(
            (
                GRIP,
                sweep(path, rng.uniform(0.075, 0.11), w * 0.45, up=(0, 0, 1), power=5.0, sides=14),
            )
        )
    x0, y0 = 0.2, -h * 0.8
    bow = rng.uniform(0.13, 0.2)
    guard = bezier(
        (x0 + bow, y0, 0), (x0 + bow, y0 - 0.2, 0), (x0, y0 - 0.2, 0), (x0 - 0.03, y0 - 0.02, 0), 10
    )
    parts.append((TRIGGER, sweep(guard, 0.01, w * 0.2, up=(0, 0, 1), sides=8)))
    finger = bezier(
        (x0 + 0.06, y0, 0),
        (x0 + 0.08, y0 - 0.05, 0),
        (x0 + 0.05, y0 - 0.09, 0),
        (x0 + 0.09, y0 - 0.12, 0),
        7,
    )
    parts.append((TRIGGER, sweep(finger, 0.014, w * 0.15, up=(0, 0, 1), sides=8)))
    if kind != "ray" and rng.chance(0.6):
        parts.append((BARREL, box((0.03, 0.04, 0.02), (long * 0.93, h * 0.6, 0))))
        parts.append((BARREL, wedge((0.04, 0.07, 0.03), (0.0, h * 0.6, 0), shift=(-0.03, 0))))
    return parts


def _outline(rng: Random, kind: str) -> tuple[Array, Array]:
    """Left and right edge of a guitar body, from its foot (y = 0) to the neck's root (y = 1)."""
    t = np.linspace(0, 1, 21)
    if kind == "vee":
        spread = rng.uniform(0.45, 0.65)
        out = np.stack([spread * (1 - t) + 0.09, t - 0.25 * (1 - t)], 1)
        notch = np.stack([np.zeros(21), 0.35 + 0.65 * t], 1)
        return out, notch
    # Two round bouts, the lower one larger, whose smooth union leaves a waist between them.
    t = (1 - np.cos(math.pi * t)) / 2
    low, high, split = rng.uniform(0.38, 0.47), rng.uniform(0.27, 0.36), rng.uniform(0.3, 0.36)
    lower = low * np.sqrt(np.maximum(1 - ((t - split) / split) ** 2, 0))
    centre, tall = (1.95 * split + 1) / 2 - 0.05, (1 - 1.95 * split) / 2 + 0.05
    upper = high * np.sqrt(np.maximum(1 - ((t - centre) / tall) ** 2, 0))
    half = (lower**4 + upper**4) ** 0.25 + 0.01
    return np.stack([half, t], 1), np.stack([-half, t], 1)


def guitar(rng: Random) -> Parts:
    """Acoustic, electric with horns, flying V, arched jazz body, bass or banjo; neck along +y."""
    kind = rng.choice("acoustic", "acoustic", "electric", "electric", "vee", "banjo", "jazz")
    tall = rng.uniform(0.38, 0.5)
    deep = {"acoustic": 0.11, "jazz": 0.09, "banjo": 0.08}.get(kind, 0.04) * rng.uniform(0.8, 1.2)
    thick, parts = (0.0, 0.0, deep), list[tuple[int, Solid]]()
    if kind == "banjo":
        r = tall * 0.45
        rim = revolve(
            [(0, -deep / 2), (r, -deep / 2), (r, deep / 2), (0, deep / 2)],
            (0, r, 0),
            (0, 0, 1),
            sides=28,
        )
        parts.append((BODY, rim))
        tall = 2 * r
    else:
        a, b = (np.concatenate([e * tall, np.zeros((21, 1))], 1) for e in _outline(rng, kind))
        middle = (a + b) / 2 * [0, 1, 1] if kind != "vee" else b
        mirror = a * [-1, 1, 1] if kind == "vee" else b
        arch = np.array([0.0, 0.0, 0.02 if kind == "jazz" else 0.0])
        parts += [(BODY, slab(a, middle + arch, thick)), (BODY, slab(middle + arch, mirror, thick))]
    if kind == "electric":
        for s, reach in ((1, rng.uniform(0.1, 0.25)), (-1, rng.uniform(0.0, 0.2))):
            if reach > 0.05:
                x = s * tall * 0.3
                horn = bezier(
                    (x, tall * 0.8, 0),
                    (x * 1.3, tall, 0),
                    (x * 1.2, tall + reach * 0.5, 0),
                    (x * 0.7, tall + reach, 0),
                    8,
                )
                parts.append(
                    (
                        BODY,
                        sweep(horn, np.linspace(0.07, 0.02, 8), deep / 2, up=(0, 0, 1), power=3.0),
                    )
                )
    elif kind in ("acoustic", "jazz"):
        parts.append(
            (
                BODY,
                revolve(
                    [(0, 0), (0.055, 0), (0.055, 0.012), (0, 0.012)],
                    (0, tall * 0.62, deep / 2),
                    (0, 0, 1),
                ),
            )
        )
    front = deep / 2 + 0.01
    parts.append((BODY, box((0.13, 0.02, 0.025), (0, tall * rng.uniform(0.2, 0.35), front))))
    long, w = rng.uniform(0.4, 0.7), rng.uniform(0.022, 0.032)
    root, top = tall * rng.uniform(0.72, 0.9), tall + long
    parts.append(
        (
            NECK,
            slab(
                [(-w * 1.2, root, 0), (-w * 0.9, top, 0)],
                [(w * 1.2, root, 0), (w * 0.9, top, 0)],
                (0, 0, 0.03),
            ),
        )
    )
    parts[-1] = (NECK, place(parts[-1][1], (0, 0, front)))
    bend, size, wide = rng.uniform(0.0, 0.3), rng.uniform(0.12, 0.2), w * rng.uniform(1.5, 2.4)
    form = rng.choice("paddle", "slanted", "arrow")
    edges = {
        "paddle": ([(-wide, 0, 0), (-wide * 1.1, size, 0)], [(wide, 0, 0), (wide * 1.1, size, 0)]),
        "slanted": ([(-w, 0, 0), (-w * 1.2, size, 0)], [(w, 0, 0), (w * 2.6, size * 0.7, 0)]),
        "arrow": (
            [(-wide * 1.3, 0, 0), (-0.01, size * 1.1, 0)],
            [(wide * 1.3, 0, 0), (0.01, size * 1.1, 0)],
        ),
    }[form]
    turn, at = rotation(x=-bend), (0.0, top, front)
    parts.append((HEAD, place(slab(*edges, (0, 0, 0.025)), at, turn)))
    count = rng.choice(2, 3, 3)
    for s in (-1, 1) if form != "slanted" else (1,):
        for i in range(count):
            y, reach = size * (0.25 + 0.5 * i / count), s * (wide + 0.04)
            parts.append((HEAD, place(rod((0, y, 0), (reach, y, 0), 0.012, sides=6), at, turn)))
    return parts
