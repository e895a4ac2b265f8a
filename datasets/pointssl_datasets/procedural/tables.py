"""Procedural tables: top 47, leg 48, drawer 49. x is the width, z the depth, front at +z."""

import itertools
import math

from pointssl_datasets.procedural.dice import Dice
from pointssl_datasets.procedural.primitives import box, ellipsoid, revolve, rod, sweep
from pointssl_datasets.procedural.solids import Solid, bezier, place, stretch

TOP, SUPPORT, DRAWER = 47, 48, 49
Parts = list[tuple[int, Solid]]
Spot = tuple[float, float, float]


def table(d: Dice) -> Parts:
    """Four legs, pedestal, panels, sled or a desk with drawers; round, oval or rectangular."""
    kinds = (_four_legs, _four_legs, _pedestal, _panels, _desk, _desk)
    return d.pick(*kinds)(d)


def _top(d: Dice, w: float, z: float, h: float, round_share: float = 0.35) -> Solid:
    t = d.between(0.03, 0.1)
    if d.chance(round_share):
        edge = 0.5 * d.between(0.75, 1.0)
        disc = revolve([(0, -t / 2), (edge, -t / 2), (0.5, t / 2), (0, t / 2)], sides=24)
        return place(stretch(disc, (w, 1.0, z)), (0.0, h, 0.0))
    return box((w, t, z), (0, h, 0))


def _drawer(d: Dice, size: Spot, at: Spot, knob: bool) -> Parts:
    """A drawer's front panel, its box behind, and a knob or a bar as handle."""
    parts: Parts = [(DRAWER, box(size, at))]
    front = at[2] + size[2] / 2
    if knob:
        parts.append((DRAWER, ellipsoid((0.025,) * 3, (at[0], at[1], front + 0.02), sides=8)))
    else:
        parts.append((DRAWER, box((size[0] * 0.4, 0.02, 0.03), (at[0], at[1], front + 0.015))))
    return parts


def _four_legs(d: Dice) -> Parts:
    w, z = d.between(0.7, 2.0), d.between(0.6, 0.95)
    h = d.between(0.3, 0.55) if d.chance(0.4) else d.between(0.6, 1.0)
    r, splay, kind = (
        d.between(0.02, 0.06),
        d.between(0.0, 0.12),
        d.pick("square", "round", "turned"),
    )
    oval = d.chance(0.25)
    parts: Parts = [(TOP, _top(d, w, z, h, float(oval)))]
    inset = d.between(0.24, 0.33) if oval else d.between(0.3, 0.46)
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
    if d.chance(0.4):
        apron, low = d.between(0.05, 0.12), h - 0.06
        for s in (-1, 1):
            parts.append((SUPPORT, box((w * 2 * inset, apron, 0.02), (0, low, s * z * inset))))
            parts.append((SUPPORT, box((0.02, apron, z * 2 * inset), (s * w * inset, low, 0))))
    if d.chance(0.25):
        parts.append((SUPPORT, box((w * 2 * inset, 0.03, z * 2 * inset), (0, h * 0.3, 0))))
    if d.chance(0.25):
        count = d.count(1, 3)
        for i in range(count):
            x = (i + 0.5 - count / 2) * w * 1.7 * inset / count
            size = (w * 1.6 * inset / count, 0.13, z * 1.6 * inset)
            parts += _drawer(d, size, (x, h - 0.1, 0.03), i % 2 == 0)
    return parts


def _pedestal(d: Dice) -> Parts:
    w, h = d.between(0.6, 1.3), d.between(0.5, 1.1)
    z = w if d.chance(0.6) else w * d.between(0.55, 0.85)
    parts: Parts = [(TOP, _top(d, w, z, h, 0.75))]
    r, reach = d.between(0.03, 0.09), w * d.between(0.22, 0.4)
    kind = d.pick("tube", "vase", "cone")
    profile = {
        "tube": [(r, 0), (r, h)],
        "vase": [(r, 0), (2 * r, h * 0.25), (0.8 * r, h * 0.55), (1.3 * r, h * 0.8), (r, h)],
        "cone": [(reach, 0), (r, h * 0.3), (r, h * 0.8), (reach * 0.7, h)],
    }[kind]
    parts.append((SUPPORT, revolve(profile, sharp=False)))
    if kind == "cone":
        return parts
    if d.chance(0.5):
        line = [(0, 0), (reach, 0), (reach, 0.03), (r, 0.09), (0, 0.09)]
        parts.append((SUPPORT, revolve(line)))
        return parts
    count = d.count(3, 5)
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


def _panels(d: Dice) -> Parts:
    w, z, h = d.between(0.8, 2.0), d.between(0.5, 0.9), d.between(0.35, 0.9)
    parts: Parts = [(TOP, _top(d, w, z, h, 0.15))]
    kind, x = d.pick("panel", "trestle", "sled"), w * d.between(0.3, 0.48)
    r = d.between(0.02, 0.045)
    for s in (-x, x):
        if kind == "panel":
            parts.append((SUPPORT, box((1.6 * r, h, z * 0.9), (s, h / 2, 0))))
        elif kind == "trestle":
            for q in (-1, 1):
                parts.append(
                    (SUPPORT, rod((s, 0, q * z * 0.42), (s, h, -q * z * d.between(0.1, 0.4)), r))
                )
        else:
            corners = [(s, h, -z * 0.42), (s, r, -z * 0.42), (s, r, z * 0.42), (s, h, z * 0.42)]
            for a, b in itertools.pairwise(corners):
                parts.append((SUPPORT, rod(a, b, r, sides=8)))
    if d.chance(0.5):
        y = h * d.between(0.2, 0.7)
        parts.append((SUPPORT, box((2 * x, 0.05, 0.05 if kind != "panel" else z * 0.8), (0, y, 0))))
    return parts


def _desk(d: Dice) -> Parts:
    w, z, h = d.between(0.9, 1.8), d.between(0.5, 0.8), d.between(0.6, 0.85)
    parts: Parts = [(TOP, _top(d, w, z, h, 0.0))]
    wide, count = w * d.between(0.22, 0.34), d.count(2, 4)
    foot = d.pick(0.0, 0.12)
    both, mirrored = d.chance(0.4), d.pick(-1, 1)
    knob = d.chance(0.5)
    for s in (-1, 1):
        x = s * (w / 2 - wide / 2)
        if s == mirrored or both:
            tall = (h - foot) / count
            for i in range(count):
                size = (wide * 0.92, tall * 0.88, z * 0.9)
                parts += _drawer(d, size, (x, foot + (i + 0.5) * tall, 0.02), knob)
            parts.append(
                (SUPPORT, box((0.02, h - foot, z * 0.92), (x - s * wide / 2, (h + foot) / 2, 0)))
            )
        for q in (-1, 1):
            a = s * w * 0.47
            parts.append((SUPPORT, box((0.05, h, 0.05), (a, h / 2, q * z * 0.45))))
    if d.chance(0.5):
        parts.append((SUPPORT, box((w * 0.9, h * 0.5, 0.02), (0, h * 0.7, -z * 0.45))))
    return parts
