"""Solids of revolution about the y axis: their outlines as formulas, and which points are inside.

An outline lies in the plane of (r, y), r the distance from the axis. It is made of pieces

    r = cr + s dr + rho cos(theta),   y = cy + s dy + rho sin(theta),   theta = theta0 + s dtheta

with s from 0 to 1: an arc where dr = dy = 0, a line where rho = 0. Either way the normal is
(cos(theta), sin(theta)), so that one formula serves every surface.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from pointssl_datasets.procedural.solids import Array

AROUND = 24  # cells around the axis, where the normal changes around it
ALONG = 16  # cells of a full circle of the outline

# Columns of the table of cells.
CR, CY, DR, DY, RHO, THETA, DTHETA, PHI, DPHI, R0, R1, NX, NY, NZ, AREA = range(15)

_FAR = 1e6  # a disk this large, or a line this far away, bounds nothing


class RevolutionSolid(NamedTuple):
    """A primitive in its own frame, within about -1 to 1.

    Inside is where ``a r + b y < c`` for all ``lines``, and (r, y) is nearer than ``rho`` to the
    upright segment from ``(R, cy - h)`` to ``(R, cy + h)`` of ``round``.
    """

    cells: Array  # (C, 15): patches that are flat enough to have one normal, see the columns
    lines: Array  # (4, 3): a, b, c
    round: Array  # (4,): R, cy, h, rho


@lru_cache(maxsize=1)
def revolution_solids() -> dict[str, RevolutionSolid]:
    """By name. Straight outlines are convex polygons, counter-clockwise, without the axis."""
    return {
        "cylinder": _straight((0, -1), (1, -1), (1, 1), (0, 1)),
        "cone": _straight((0, -1), (1, -1), (0, 1)),
        "frustum": _straight((0, -1), (1, -1), (0.5, 1), (0, 1)),
        "stump": _straight((0, -1), (1, -1), (0.8, 1), (0, 1)),
        "spindle": _straight((0, -1), (1, 0), (0, 1)),
        "tube": _straight((0.7, -1), (1, -1), (1, 1), (0.7, 1), closed=True),
        "pipe": _straight((0.86, -1), (1, -1), (1, 1), (0.86, 1), closed=True),
        "washer": _straight((0.4, -1), (1, -1), (1, 1), (0.4, 1), closed=True),
        "crown": _straight((0.6, -1), (1, -1), (0.8, 1), closed=True),
        "sphere": _rounded(0, 0, 0, 1),
        "torus": _rounded(0.68, 0, 0, 0.32),
        "ring": _rounded(0.84, 0, 0, 0.16),
        "capsule": _rounded(0, 0, 0.5, 0.5),
        "band": _rounded(0.84, 0, 0.6, 0.16),
        "dome": _dome(),
    }


def _straight(*outline: tuple[float, float], closed: bool = False) -> RevolutionSolid:
    ends = list(outline[1:]) + [outline[0]] * closed
    pieces, lines = [], []
    for (r0, y0), (r1, y1) in zip(outline, ends, strict=False):
        theta = math.atan2(r0 - r1, y1 - y0)  # the outside is to the right of the outline
        pieces.append((r0, y0, r1 - r0, y1 - y0, 0.0, theta, 0.0))
        a, b = math.cos(theta), math.sin(theta)
        lines.append((a, b, a * r0 + b * y0))
    return _solid(pieces, lines, (0, 0, 0, _FAR))


def _rounded(radius: float, cy: float, h: float, rho: float) -> RevolutionSolid:
    """What is near an upright segment: sphere, capsule (radius 0), torus, band."""
    half = math.pi / 2
    pieces: list[tuple[float, ...]] = [
        (radius, cy + h, 0, 0, rho, 0, half),
        (radius, cy - h, 0, 0, rho, -half, half),
    ]
    if h:
        pieces.append((radius + rho, cy - h, 0, 2 * h, 0, 0, 0))
    if radius:
        pieces.append((radius, cy + h, 0, 0, rho, half, half))
        pieces.append((radius, cy - h, 0, 0, rho, math.pi, half))
    if radius and h:
        pieces.append((radius - rho, cy + h, 0, -2 * h, 0, math.pi, 0))
    return _solid(pieces, [], (radius, cy, h, rho))


def _dome() -> RevolutionSolid:
    pieces = [(0, -0.5, 1, 0, 0, -math.pi / 2, 0), (0, -0.5, 0, 0, 1, 0, math.pi / 2)]
    return _solid(pieces, [(0, -1, 0.5)], (0, -0.5, 0, 1))


def _solid(
    pieces: Sequence[tuple[float, ...]],
    lines: list[tuple[float, float, float]],
    rounded: tuple[float, float, float, float],
) -> RevolutionSolid:
    padded = lines + [(0.0, 0.0, _FAR)] * (4 - len(lines))
    cells = [cell for piece in pieces for cell in _cells(*piece)]
    return RevolutionSolid(
        np.array(cells), np.array(padded, dtype=float), np.array(rounded, dtype=float)
    )


def _cells(
    cr: float, cy: float, dr: float, dy: float, rho: float, theta: float, dtheta: float
) -> list[tuple[float, ...]]:
    """A piece of the outline, revolved and divided into cells; s runs from 0 to 1 in each."""
    along = max(1, round(ALONG * abs(dtheta) / (2 * math.pi)))
    around = 1 if not dtheta and abs(math.cos(theta)) < 1e-9 else AROUND  # a lid has one normal
    cells: list[tuple[float, ...]] = []
    for i in range(along):
        t, step = theta + dtheta * i / along, dtheta / along
        r0 = cr + rho * math.cos(t)
        r1 = cr + dr + rho * math.cos(t + step)
        r0, r1 = max(r0, 0.0), max(r1, 0.0)
        if rho:  # Pappus: the arc's length times the path of its centroid
            centroid = cr + rho * (math.sin(t + step) - math.sin(t)) / step
            strip = 2 * math.pi * centroid * rho * abs(step)
        else:
            strip = math.pi * (r0 + r1) * math.hypot(dr, dy)
        middle = t + step / 2
        for j in range(around):
            phi, width = 2 * math.pi * j / around, 2 * math.pi / around
            out = math.cos(middle)
            normal = (out * math.cos(phi + width / 2), math.sin(middle),
                      out * math.sin(phi + width / 2))  # fmt: skip
            cells.append((cr, cy, dr, dy, rho, t, step, phi, width, r0, r1, *normal,
                          strip / around))  # fmt: skip
    return cells
