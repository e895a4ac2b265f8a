"""Procedural lamps: base 24, shade 25, canopy or bulb 26, tube 27."""

import math

from pointssl_datasets.procedural.primitives import box, ellipsoid, revolve, rod, sweep, wedge
from pointssl_datasets.procedural.randomness import Random
from pointssl_datasets.procedural.solids import Parts, Solid, bezier, place, rotation

BASE, SHADE, CANOPY, TUBE = 24, 25, 26, 27


def lamp(rng: Random) -> Parts:
    """Floor lamp, table lamp, jointed desk lamp, pendant, chandelier, arc lamp or wall lamp."""
    return rng.choice(_standing, _standing, _jointed, _pendant, _chandelier, _arc, _wall)(rng)


def _shade(rng: Random, r: float) -> Solid:
    """A thin shade around the origin that opens downwards, in one of five forms."""
    tall, narrow = r * rng.uniform(0.6, 1.8), rng.uniform(0.3, 0.95)
    kind = rng.choice("frustum", "frustum", "dome", "globe", "pyramid", "bell")
    if kind == "globe":
        return ellipsoid((r, tall * 0.55, r))
    if kind == "dome":
        return place(ellipsoid((r, tall * 0.6, r), low=0.0), (0, -tall * 0.2, 0))
    if kind == "pyramid":
        return wedge((1.7 * r, tall, 1.7 * r), top=(narrow, narrow))
    if kind == "bell":
        curve = bezier(
            (r, -tall / 2), (r * 0.5, -tall * 0.3), (r * 0.5, tall * 0.4), (r * 0.15, tall / 2)
        )
        return revolve(curve, sharp=False)
    return revolve([(r, -tall / 2), (r * narrow, tall / 2)])


def _standing(rng: Random) -> Parts:
    h = rng.uniform(1.3, 1.9) if rng.chance(0.4) else rng.uniform(0.35, 0.9)
    r = rng.uniform(0.15, 0.32)
    parts: Parts = [(SHADE, place(_shade(rng, r), (0, h, 0)))]
    thin = rng.uniform(0.012, 0.03)
    kind = rng.choice("plate", "vase", "tripod", "block")
    low = h * 0.45 if kind == "tripod" else 0.0
    parts.append((TUBE, rod((0, low, 0), (0, h, 0), thin, sides=8)))
    if rng.chance(0.5):
        parts.append((CANOPY, ellipsoid((0.05, 0.07, 0.05), (0, h - 0.02, 0), sides=10)))
    wide, tall = rng.uniform(0.1, 0.24), min(h * 0.6, rng.uniform(0.02, 0.4))
    if kind == "plate":
        parts.append((BASE, revolve([(0, 0), (wide, 0), (wide, 0.03), (thin, 0.07)])))
    elif kind == "vase":
        tall = max(tall, 0.2)
        line = [
            (0, 0),
            (wide * 0.7, 0),
            (wide * rng.uniform(0.5, 1.2), tall * 0.35),
            (wide * 0.8, tall * 0.6),
            (thin, tall),
        ]
        parts.append((BASE, revolve(line, sharp=False)))
    elif kind == "tripod":
        for i in range(3):
            a = 2 * math.pi * i / 3
            foot = (1.6 * wide * math.cos(a), 0, 1.6 * wide * math.sin(a))
            parts.append((BASE, rod(foot, (0, h * 0.5, 0), 0.02, sides=8)))
    else:
        parts.append(
            (BASE, wedge((wide * 1.5, tall, wide * 1.5), (0, tall / 2, 0), top=(0.8, 0.8)))
        )
    return parts


def _jointed(rng: Random) -> Parts:
    r, a, b = rng.uniform(0.12, 0.22), rng.uniform(0.1, 0.5), rng.uniform(0.6, 1.5)
    low, long = rng.uniform(0.35, 0.6), rng.uniform(0.3, 0.6)
    elbow = (-low * math.sin(a), low * math.cos(a), 0.0)
    tip = (elbow[0] + long * math.sin(b), elbow[1] + long * math.cos(b), 0.0)
    thin = rng.uniform(0.012, 0.025)
    parts: Parts = [(BASE, revolve([(0, 0), (r, 0), (r, 0.04), (0, 0.05)]))]
    parts += [(TUBE, rod((0, 0, 0), elbow, thin)), (TUBE, rod(elbow, tip, thin))]
    parts.append((TUBE, ellipsoid((0.03,) * 3, elbow, sides=8)))
    wide, turn = rng.uniform(0.09, 0.16), rotation(z=rng.uniform(-0.3, 0.9))
    head = revolve([(wide, -0.2), (wide * 0.5, -0.05), (0.035, 0.02), (0, 0.02)], sharp=False)
    parts.append((SHADE, place(head, tip, turn)))
    if rng.chance(0.6):
        parts.append(
            (CANOPY, place(ellipsoid((0.05, 0.06, 0.05), (0, -0.13, 0), sides=8), tip, turn))
        )
    return parts


def _pendant(rng: Random) -> Parts:
    long, r, count = rng.uniform(0.3, 1.4), rng.uniform(0.15, 0.4), rng.choice(1, 1, 1, 2, 3)
    parts: Parts = []
    for i in range(count):
        x = (i - (count - 1) / 2) * r * 2.4
        y = -long * (rng.uniform(0.7, 1.0) if count > 1 else 1.0)
        parts.append((TUBE, rod((x, y, 0), (x, 0, 0), 0.015, sides=6)))
        parts.append((SHADE, place(_shade(rng, r), (x, y, 0))))
    wide = max(0.1, (count - 1) * r * 1.3)
    if count > 1:
        parts.append((CANOPY, box((2 * wide, 0.05, 0.14), (0, 0, 0))))
    else:
        parts.append((CANOPY, revolve([(0.02, -0.08), (wide, 0), (wide, 0.03), (0, 0.03)])))
    return parts


def _chandelier(rng: Random) -> Parts:
    long, reach, count = rng.uniform(0.3, 0.9), rng.uniform(0.3, 0.5), rng.integer(3, 7)
    parts: Parts = [(TUBE, rod((0, -long, 0), (0, 0, 0), 0.02, sides=8))]
    parts.append((CANOPY, revolve([(0.02, -0.06), (0.12, 0), (0.12, 0.03), (0, 0.03)])))
    shade, rise = _shade(rng, rng.uniform(0.07, 0.14)), rng.uniform(-0.1, 0.25)
    for i in range(count):
        c, s = math.cos(2 * math.pi * i / count), math.sin(2 * math.pi * i / count)
        path = bezier(
            (0, -long, 0),
            (reach * c * 0.4, -long - 0.25, reach * s * 0.4),
            (reach * c, -long - 0.2, reach * s),
            (reach * c, rise - long, reach * s),
            8,
        )
        parts.append((TUBE, sweep(path, 0.015, up=(-s, 0, c), sides=6)))
        parts.append((SHADE, place(shade, (reach * c, rise - long, reach * s))))
    return parts


def _arc(rng: Random) -> Parts:
    h, reach, r = rng.uniform(1.0, 1.6), rng.uniform(0.4, 1.0), rng.uniform(0.14, 0.24)
    path = bezier((0, 0, 0), (0, h * 1.3, 0), (reach, h * 1.3, 0), (reach, h * 0.8, 0), 14)
    parts: Parts = [(TUBE, sweep(path, 0.02, up=(0, 0, 1), sides=8))]
    parts.append((SHADE, place(_shade(rng, r), (reach, h * 0.8, 0))))
    parts.append((BASE, revolve([(0, 0), (0.2, 0), (0.2, 0.05), (0, 0.06)])))
    return parts


def _wall(rng: Random) -> Parts:
    reach, r, drop = rng.uniform(0.15, 0.4), rng.uniform(0.1, 0.2), rng.uniform(-0.1, 0.2)
    tall = rng.uniform(0.12, 0.3)
    parts: Parts = [(BASE, box((0.03, tall, tall * rng.uniform(0.4, 1.0))))]
    path = bezier((0, 0, 0), (reach, -0.15, 0), (reach, -0.1, 0), (reach, drop, 0), 9)
    parts.append((TUBE, sweep(path, 0.02, up=(0, 0, 1), sides=8)))
    parts.append((SHADE, place(_shade(rng, r), (reach, drop, 0))))
    if rng.chance(0.5):
        parts.append((CANOPY, ellipsoid((0.05,) * 3, (reach, drop, 0), sides=8)))
    return parts
