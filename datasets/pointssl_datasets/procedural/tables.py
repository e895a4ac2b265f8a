"""Procedural tables: top 47, leg 48, drawer 49. x is the width, z the depth, front at +z."""

import itertools
import math

from pointssl_datasets.procedural.primitives import box, ellipsoid, revolve, rod, sweep
from pointssl_datasets.procedural.randomness import Random
from pointssl_datasets.procedural.solids import Parts, Point, Solid, bezier, place, stretch

TOP, SUPPORT, DRAWER = 47, 48, 49


def table(rng: Random) -> Parts:
    """Four legs, pedestal, panels, sled or a desk with drawers; round, oval or rectangular."""
    kinds = (_four_legs, _four_legs, _pedestal, _panels, _desk, _desk)
    return rng.choice(*kinds)(rng)


def _top(rng: Random, w: float, z: float, h: float, round_share: float = 0.35) -> Solid:
    t = rng.uniform(0.03, 0.1)
    if rng.chance(round_share):
        edge = 0.5 * rng.uniform(0.75, 1.0)
        disc = revolve([(0, -t / 2), (edge, -t / 2), (0.5, t / 2), (0, t / 2)], sides=24)
        return place(stretch(disc, (w, 1.0, z)), (0.0, h, 0.0))
    return box((w, t, z), (0, h, 0))


def _drawer(rng: Random, size: Point, at: Point, knob: bool) -> Parts:
    """A drawer's front panel, its box behind, and a knob or a bar as handle."""
    parts: Parts = [(DRAWER, box(size, at))]
    front = at[2] + size[2] / 2
    if knob:
        parts.append((DRAWER, ellipsoid((0.025,) * 3, (at[0], at[1], front + 0.02), sides=8)))
    else:
        parts.append((DRAWER, box((size[0] * 0.4, 0.02, 0.03), (at[0], at[1], front + 0.015))))
    return parts


def _four_legs(rng: Random) -> Parts:
    w, z = rng.uniform(0.7, 2.0), rng.uniform(0.6, 0.95)
    h = rng.uniform(0.3, 0.55) if rng.chance(0.4) else rng.uniform(0.6, 1.0)
    r, splay, kind = (
        rng.uniform(0.02, 0.06),
        rng.uniform(0.0, 0.12),
        rng.choice("square", "round", "turned"),
    )
    oval = rng.chance(0.25)
    parts: Parts = [(TOP, _top(rng, w, z, h, float(oval)))]
    inset = rng.uniform(0.24, 0.33) if oval else rng.uniform(0.3, 0.46)
    for sx in (-1, 1):
        for sz in (-1, 1):
            x, y = sx * w * inset, sz * z * inset
            if kind == "square":
                leg = sweep(
                    [(x + sx * splay, 0, y + sz * splay), (x, h, y)],
                    r,
                    power=8,
                    up=(0, 0, 1),
                    sides=8,
                )
            elif kind == "round":
                leg = rod((x + sx * splay, 0, y + sz * splay), (x, h, y), r * 0.6, r, sides=8)
            else:
                line = [
                    (0, 0),
                    (r, 0),
                    (0.5 * r, 0.2 * h),
                    (1.3 * r, 0.5 * h),
                    (0.6 * r, 0.7 * h),
                    (r, h),
                ]
                leg = revolve(line, (x, 0, y), sharp=False, sides=10)
            parts.append((SUPPORT, leg))
    if rng.chance(0.4):
        apron, low = rng.uniform(0.05, 0.12), h - 0.06
        for s in (-1, 1):
            parts.append((SUPPORT, box((w * 2 * inset, apron, 0.02), (0, low, s * z * inset))))
            parts.append((SUPPORT, box((0.02, apron, z * 2 * inset), (s * w * inset, low, 0))))
    if rng.chance(0.25):
        parts.append((SUPPORT, box((w * 2 * inset, 0.03, z * 2 * inset), (0, h * 0.3, 0))))
    if rng.chance(0.25):
        count = rng.integer(1, 3)
        for i in range(count):
            x = (i + 0.5 - count / 2) * w * 1.7 * inset / count
            size = (w * 1.6 * inset / count, 0.13, z * 1.6 * inset)
            parts += _drawer(rng, size, (x, h - 0.1, 0.03), i % 2 == 0)
    return parts


def _pedestal(rng: Random) -> Parts:
    w, h = rng.uniform(0.6, 1.3), rng.uniform(0.5, 1.1)
    z = w if rng.chance(0.6) else w * rng.uniform(0.55, 0.85)
    parts: Parts = [(TOP, _top(rng, w, z, h, 0.75))]
    r, reach = rng.uniform(0.03, 0.09), w * rng.uniform(0.22, 0.4)
    kind = rng.choice("tube", "vase", "cone")
    profile = {
        "tube": [(r, 0), (r, h)],
        "vase": [(r, 0), (2 * r, h * 0.25), (0.8 * r, h * 0.55), (1.3 * r, h * 0.8), (r, h)],
        "cone": [(reach, 0), (r, h * 0.3), (r, h * 0.8), (reach * 0.7, h)],
    }[kind]
    parts.append((SUPPORT, revolve(profile, sharp=False)))
    if kind == "cone":
        return parts
    if rng.chance(0.5):
        line = [(0, 0), (reach, 0), (reach, 0.03), (r, 0.09), (0, 0.09)]
        parts.append((SUPPORT, revolve(line)))
        return parts
    count = rng.integer(3, 5)
    for i in range(count):
        c, s = math.cos(2 * math.pi * i / count), math.sin(2 * math.pi * i / count)
        path = bezier(
            (0, h * 0.35, 0),
            (reach * c * 0.6, h * 0.3, reach * s * 0.6),
            (reach * c * 0.7, 0.02, reach * s * 0.7),
            (reach * c, 0.02, reach * s),
            7,
        )
        parts.append((SUPPORT, sweep(path, 0.03, up=(-s, 0, c), sides=8)))
    return parts


def _panels(rng: Random) -> Parts:
    w, z, h = rng.uniform(0.8, 2.0), rng.uniform(0.5, 0.9), rng.uniform(0.35, 0.9)
    parts: Parts = [(TOP, _top(rng, w, z, h, 0.15))]
    kind, x = rng.choice("panel", "trestle", "sled"), w * rng.uniform(0.3, 0.48)
    r = rng.uniform(0.02, 0.045)
    for s in (-x, x):
        if kind == "panel":
            parts.append((SUPPORT, box((1.6 * r, h, z * 0.9), (s, h / 2, 0))))
        elif kind == "trestle":
            for q in (-1, 1):
                parts.append(
                    (SUPPORT, rod((s, 0, q * z * 0.42), (s, h, -q * z * rng.uniform(0.1, 0.4)), r))
                )
        else:
            corners = [(s, h, -z * 0.42), (s, r, -z * 0.42), (s, r, z * 0.42), (s, h, z * 0.42)]
            for a, b in itertools.pairwise(corners):
                parts.append((SUPPORT, rod(a, b, r, sides=8)))
    if rng.chance(0.5):
        y = h * rng.uniform(0.2, 0.7)
        parts.append((SUPPORT, box((2 * x, 0.05, 0.05 if kind != "panel" else z * 0.8), (0, y, 0))))
    return parts


def _desk(rng: Random) -> Parts:
    w, z, h = rng.uniform(0.9, 1.8), rng.uniform(0.5, 0.8), rng.uniform(0.6, 0.85)
    parts: Parts = [(TOP, _top(rng, w, z, h, 0.0))]
    wide, count = w * rng.uniform(0.22, 0.34), rng.integer(2, 4)
    foot = rng.choice(0.0, 0.12)
    both, mirrored = rng.chance(0.4), rng.choice(-1, 1)
    knob = rng.chance(0.5)
    for s in (-1, 1):
        x = s * (w / 2 - wide / 2)
        if s == mirrored or both:
            tall = (h - foot) / count
            for i in range(count):
                size = (wide * 0.92, tall * 0.88, z * 0.9)
                parts += _drawer(rng, size, (x, foot + (i + 0.5) * tall, 0.02), knob)
            parts.append(
                (SUPPORT, box((0.02, h - foot, z * 0.92), (x - s * wide / 2, (h + foot) / 2, 0)))
            )
        for q in (-1, 1):
            a = s * w * 0.47
            parts.append((SUPPORT, box((0.05, h, 0.05), (a, h / 2, q * z * 0.45))))
    if rng.chance(0.5):
        parts.append((SUPPORT, box((w * 0.9, h * 0.5, 0.02), (0, h * 0.7, -z * 0.45))))
    return parts
