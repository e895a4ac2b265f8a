"""Procedural chairs: back 12, seat 13, leg 14, arm 15.

x is the width, z the depth with the front at +z.
"""

import itertools
import math

import numpy as np

from pointssl_datasets.procedural.primitives import box, ellipsoid, revolve, rod, slab, sweep
from pointssl_datasets.procedural.randomness import Random
from pointssl_datasets.procedural.solids import Array, Parts, Solid, bezier, rotation

BACK, SEAT, LEG, ARM = 12, 13, 14, 15


def chair(rng: Random) -> Parts:
    """Four legs, swivel, sofa, cantilever, rocking chair or shell."""
    return rng.choice(_four_legs, _four_legs, _swivel, _sofa, _cantilever, _rocking, _shell)(rng)


def _leg(
    rng: Random,
    foot: tuple[float, float, float],
    top: tuple[float, float, float],
    r: float,
    square: bool,
) -> Solid:
    if square:
        return sweep([foot, top], r, power=8.0, up=(0.0, 0.0, 1.0), sides=8)
    return rod(foot, top, r * 0.65, r, sides=8)


def _seat(rng: Random, w: float, h: float, z: float) -> Solid:
    t = rng.uniform(0.04, 0.12)
    if rng.chance(0.25):
        return revolve([(0, -t / 2), (w * 0.52, -t / 2), (w * 0.54, t / 2), (0, t / 2)], (0, h, 0))
    if rng.chance(0.4):
        return ellipsoid((w * 0.56, t * 0.8, z * 0.56), (0, h, 0))
    return box((w, t, z), (0, h, 0))


def _back(rng: Random, w: float, h: float, z: float, tall: float) -> Parts:
    """A back that rises ``tall`` from the rear edge of a seat at height ``h``."""
    lean, curve = rng.uniform(0.0, 0.25) * tall, rng.uniform(0.0, 0.16) * w
    kind = rng.choice("panel", "panel", "slats", "spindles", "frame", "round")
    xs = np.linspace(-0.5, 0.5, 9)
    bow = curve * (4 * xs * xs - 1)

    def rail(y: float) -> Array:
        depth = -z / 2 - lean * (y / tall) + bow
        return np.stack([w * xs, np.full(9, h + y), depth], 1)

    thick = (0.0, 0.0, rng.uniform(0.03, 0.08))
    if kind == "panel":
        return [(BACK, slab(rail(rng.uniform(0.0, 0.25) * tall), rail(tall), thick))]
    if kind == "round":
        at = (0.0, h + tall * 0.6, -z / 2 - lean / 2)
        turn = rotation(x=-lean / tall)
        return [(BACK, ellipsoid((w * 0.5, tall * 0.45, thick[2]), at, turn))]
    r = rng.uniform(0.018, 0.035)
    bottom = np.array([0.0, -0.02, 0.0])
    posts: Parts = [
        (BACK, sweep([rail(0)[i] + bottom, rail(tall)[i]], r, up=(0, 0, 1))) for i in (0, 8)
    ]
    band = rng.uniform(0.04, 0.09)
    posts.append((BACK, slab(rail(tall - band), rail(tall + band / 2), thick)))
    if kind == "slats":
        count = rng.integer(1, 4)
        for i in range(count):
            y = tall * (i + 1) / (count + 1.5)
            posts.append((BACK, slab(rail(y - band / 2), rail(y + band / 2), thick)))
    if kind == "spindles":
        posts += [(BACK, rod(rail(0)[i], rail(tall)[i], r * 0.6, sides=6)) for i in range(1, 8, 2)]  # type: ignore[arg-type]
    return posts


def _arms(rng: Random, w: float, h: float, z: float) -> Parts:
    rise, r = rng.uniform(0.18, 0.3), rng.uniform(0.02, 0.04)
    style = rng.choice("post", "loop", "panel")
    parts: Parts = []
    for s in (-1, 1):
        x = s * (w / 2 + r)
        if style == "panel":
            parts.append((ARM, box((2 * r, rise, z * 0.85), (x, h + rise / 2, 0))))
        elif style == "post":
            parts.append((ARM, box((2.6 * r, 1.4 * r, z), (x, h + rise, 0))))
            parts.append((ARM, rod((x, h, z * 0.35), (x, h + rise, z * 0.4), r, sides=8)))
        else:
            path = bezier(
                (x, h, z * 0.4),
                (x, h + rise * 1.5, z * 0.6),
                (x, h + rise * 1.2, -z * 0.2),
                (x, h + rise, -z * 0.5),
                10,
            )
            parts.append((ARM, sweep(path, r, up=(1, 0, 0), sides=8)))
    return parts


def _four_legs(rng: Random) -> Parts:
    w = rng.uniform(1.0, 1.9) if rng.chance(0.15) else rng.uniform(0.42, 0.65)
    z, h, tall = rng.uniform(0.4, 0.6), rng.uniform(0.35, 0.6), rng.uniform(0.35, 0.85)
    splay, r, square = rng.uniform(0.0, 0.1), rng.uniform(0.018, 0.045), rng.chance(0.5)
    parts: Parts = [(SEAT, _seat(rng, w, h, z)), *_back(rng, w * 0.95, h, z, tall)]
    for sx in (-1, 1):
        for sz in (-1, 1):
            x, y = sx * w * 0.42, sz * z * 0.42
            foot = (x + sx * splay, 0.0, y + sz * splay)
            parts.append((LEG, _leg(rng, foot, (x, h, y), r, square)))
        if rng.chance(0.35):
            a, b = h * 0.35, w * 0.42 + splay * 0.65
            parts.append(
                (LEG, rod((sx * b, a, -z * 0.45), (sx * b, a, z * 0.45), r * 0.6, sides=6))
            )
    return parts + (_arms(rng, w, h, z) if rng.chance(0.4) else [])


def _swivel(rng: Random) -> Parts:
    w, z, h = rng.uniform(0.45, 0.6), rng.uniform(0.45, 0.58), rng.uniform(0.42, 0.6)
    parts: Parts = [(SEAT, _seat(rng, w, h, z)), *_back(rng, w * 0.9, h, z, rng.uniform(0.4, 0.9))]
    parts.append((LEG, rod((0, 0.1, 0), (0, h, 0), rng.uniform(0.025, 0.045))))
    reach = rng.uniform(0.26, 0.36)
    if rng.chance(0.25):
        plate = [(0, 0), (reach, 0), (reach, 0.02), (0.05, 0.06), (0, 0.06)]
        parts.append((LEG, revolve(plate)))
    else:
        count = rng.integer(4, 6)
        for i in range(count):
            c, s = math.cos(2 * math.pi * i / count), math.sin(2 * math.pi * i / count)
            tip = (reach * c, 0.07, reach * s)
            parts.append((LEG, rod((0, 0.12, 0), tip, 0.03, 0.02, sides=6)))
            parts.append((LEG, ellipsoid((0.035, 0.035, 0.035), (tip[0], 0.035, tip[2]), sides=8)))
    return parts + (_arms(rng, w, h, z) if rng.chance(0.6) else [])


def _sofa(rng: Random) -> Parts:
    w, z, h = rng.uniform(0.6, 2.0), rng.uniform(0.55, 0.8), rng.uniform(0.25, 0.38)
    tall, arm = rng.uniform(0.25, 0.5), rng.uniform(0.1, 0.2)
    foot = rng.uniform(0.03, 0.14)
    parts: Parts = [(SEAT, box((w, h - foot, z), (0, (h + foot) / 2, 0)))]
    if rng.chance(0.5):
        count = max(1, round(w / 0.65))
        for i in range(count):
            x = (i + 0.5) / count * w - w / 2
            parts.append(
                (SEAT, ellipsoid((w / count * 0.48, 0.07, z * 0.45), (x, h, 0.03), sides=12))
            )
    depth, lean = rng.uniform(0.1, 0.22), rng.uniform(0.0, 0.12)
    edge = [(-w / 2, foot, -z / 2), (-w / 2, h + tall, -z / 2 - lean)]
    other = [(w / 2, y, q) for _, y, q in edge]
    parts.append((BACK, slab(edge, other, (0, 0, depth))))
    high = h + rng.uniform(0.08, tall * 0.8)
    for s in (-1, 1):
        x = s * (w + arm) / 2
        if rng.chance(0.9):
            parts.append((ARM, box((arm, high - foot, z), (x, (high + foot) / 2, 0))))
            if rng.chance(0.5):
                ends = ((x, high, -z / 2), (x, high, z / 2))
                parts.append((ARM, rod(*ends, arm * 0.6)))
        for q in (-1, 1):
            parts.append(
                (
                    LEG,
                    rod(
                        (s * w * 0.45, 0, q * z * 0.42),
                        (s * w * 0.45, foot, q * z * 0.42),
                        0.035,
                        sides=8,
                    ),
                )
            )
    return parts


def _tube_frame(points: list[tuple[float, float, float]], r: float) -> Parts:
    return [(LEG, rod(a, b, r, sides=8)) for a, b in itertools.pairwise(points)]


def _cantilever(rng: Random) -> Parts:
    w, z, h = rng.uniform(0.42, 0.58), rng.uniform(0.42, 0.58), rng.uniform(0.38, 0.52)
    r, x = rng.uniform(0.014, 0.03), w / 2
    parts: Parts = [(SEAT, box((w, rng.uniform(0.03, 0.08), z), (0, h, 0)))]
    parts += _back(rng, w * 0.95, h, z, rng.uniform(0.35, 0.6))
    for s in (-x, x):
        front = [
            (s, h, -z / 2),
            (s, h, z / 2),
            (s, r, z / 2 + rng.uniform(0, 0.05)),
            (s, r, -z / 2),
        ]
        parts += _tube_frame(front + ([front[0]] if rng.chance(0.3) else []), r)
    parts += _tube_frame([(-x, r, -z / 2), (x, r, -z / 2)], r)
    return parts + (_arms(rng, w, h, z) if rng.chance(0.5) else [])


def _rocking(rng: Random) -> Parts:
    w, z, h = rng.uniform(0.48, 0.62), rng.uniform(0.45, 0.55), rng.uniform(0.42, 0.5)
    parts: Parts = [
        (SEAT, _seat(rng, w, h, z)),
        *_back(rng, w * 0.95, h, z, rng.uniform(0.55, 0.9)),
    ]
    lift, long, r = rng.uniform(0.08, 0.18), rng.uniform(0.42, 0.6), rng.uniform(0.018, 0.035)
    for s in (-1, 1):
        x = s * w * 0.44
        runner = bezier(
            (x, lift, -long * 1.1),
            (x, -lift * 0.6, -long * 0.3),
            (x, -lift * 0.6, long * 0.3),
            (x, lift, long * 0.9),
            12,
        )
        parts.append((LEG, sweep(runner, r * 1.3, r, up=(1, 0, 0), power=6.0, sides=8)))
        parts += [
            (LEG, rod((x, 0.0, q * z * 0.4), (x, h, q * z * 0.4), r, sides=8)) for q in (-1, 1)
        ]
    return parts + (_arms(rng, w, h, z) if rng.chance(0.8) else [])


def _shell(rng: Random) -> Parts:
    w, z, h = rng.uniform(0.5, 0.7), rng.uniform(0.45, 0.6), rng.uniform(0.3, 0.48)
    tall, hug = rng.uniform(0.35, 0.6), rng.uniform(0.1, 0.3)
    path = bezier(
        (0, h + 0.05, z / 2),
        (0, h - 0.12, -z * 0.2),
        (0, h, -z * 0.55),
        (0, h + tall, -z * rng.uniform(0.55, 0.85)),
        13,
    )
    half = w / 2 * np.sin(np.linspace(0.9, 2.6, 13))[:, None]
    cup = hug * np.linspace(0.1, 1.0, 13)[:, None] * w
    edges = []
    for u in (-1.0, -0.5, 0.0, 0.5, 1.0):
        rise = cup * (u * u) * np.array([0.0, 0.45, 1.0])
        edges.append(path + np.array([1.0, 0, 0]) * half * u + rise)
    thick = (0.0, 0.022, 0.022)
    parts: Parts = []
    for a, b in itertools.pairwise(edges):
        parts.append((SEAT, slab(a[:7], b[:7], thick)))
        parts.append((BACK, slab(a[6:], b[6:], thick)))
    if rng.chance(0.35):
        parts.append(
            (LEG, revolve([(0, 0), (w * 0.42, 0), (w * 0.4, 0.02), (0.03, 0.06), (0.03, h - 0.04)]))
        )
        return parts
    r, splay = rng.uniform(0.012, 0.03), rng.uniform(0.02, 0.12)
    for sx in (-1, 1):
        for sz in (-1, 1):
            foot = (sx * (w * 0.3 + splay), 0.0, sz * (z * 0.3 + splay))
            parts.append((LEG, rod(foot, (sx * w * 0.2, h - 0.02, sz * z * 0.2), r, sides=8)))
    return parts
