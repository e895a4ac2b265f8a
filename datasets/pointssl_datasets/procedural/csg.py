"""Constructive solid geometry without a mesh: points on what remains, uniform by area.

A composition is a list of steps: each adds a solid to the shape so far, or cuts it away. The
surface of a step is on the surface of the result where no later step covers it, and where the
steps before it left empty space (for an addition) or material (for a cut, whose own surface then
becomes a wall of the hole). So points are drawn on the surfaces of all steps, and those that fail
this rule are dropped (Requicha, Representations for Rigid Solids, Computing Surveys, 1980). Whether
a point is inside a primitive is known in closed form, in the primitive's own frame.
"""

from collections.abc import Sequence

import numpy as np

from pointssl_datasets.procedural.families import Body, Bools, Flat, Ints, Round, Wire, Wires
from pointssl_datasets.procedural.revolution import revolution_solids
from pointssl_datasets.procedural.solids import Array

_MIN_SHARE = 0.04  # of the points drawn must remain, or the shape counts as cut away


Step = Body | Wire


def transformed(step: Step, matrix: Array, at: Array) -> Step:
    """The step under an affine map. Rods stay round; their volume scales as that of bodies does."""
    if isinstance(step, Body):
        return step._replace(matrix=matrix @ step.matrix, at=matrix @ step.at + at)
    grow = float(abs(np.linalg.det(matrix)) ** (1 / 3))
    return step._replace(nodes=step.nodes @ matrix.T + at, radius=step.radius * grow)


def sample(
    steps: Sequence[Step], count: int, rng: np.random.Generator
) -> tuple[Array, Array] | None:
    """``count`` points on the result, uniform by area, and unit normals that point out of it.

    Returns:
        ``xyz (count, 3)`` and ``normals (count, 3)``; None if (almost) everything is cut away.
    """
    shape = Composition(steps)
    xyz, normals, kept, drawn = [], [], 0, 0
    batch = count + count // 2
    while kept < count:
        points, out, owner = shape.draw(batch, rng)
        keep = shape.visible(points, owner)
        xyz.append(points[keep])
        normals.append(out[keep])
        kept, drawn = kept + int(keep.sum()), drawn + batch
        if kept < _MIN_SHARE * drawn:
            return None
        batch = int((count - kept) * drawn / kept * 1.1) + 64
    return np.concatenate(xyz)[:count], np.concatenate(normals)[:count]


class Composition:
    """The steps, sorted into three families, each of which is a few large arrays."""

    def __init__(self, steps: Sequence[Step]) -> None:
        kinds: tuple[list[int], list[int], list[int]] = ([], [], [])
        for number, step in enumerate(steps):
            family = 2 if isinstance(step, Wire) else 0 if step.kind in revolution_solids() else 1
            kinds[family].append(number)
        self.count = len(steps)
        self.cut = np.array([step.cut for step in steps])
        self.is_wire = np.array([isinstance(step, Wire) for step in steps])
        builders = (Round, Flat, Wires)
        self.families = [
            (np.array(numbers), build([steps[i] for i in numbers]))  # type: ignore[arg-type]
            for numbers, build in zip(kinds, builders, strict=True)
            if numbers
        ]
        self.cumulative = np.cumsum(np.concatenate([family.area for _, family in self.families]))

    def draw(self, count: int, rng: np.random.Generator) -> tuple[Array, Array, Ints]:
        """Points on the surfaces of all steps, their normals, and the step they belong to."""
        draws = rng.random((3, count))
        total = self.cumulative[-1]
        cell = np.searchsorted(self.cumulative, draws[0] * total, side="right")
        cell = np.minimum(cell, len(self.cumulative) - 1)
        xyz, normals = np.empty((count, 3)), np.empty((count, 3))
        owner = np.empty(count, dtype=np.int64)
        first = 0
        for numbers, family in self.families:
            rows = np.flatnonzero((cell >= first) & (cell < first + len(family.area)))
            cells = cell[rows] - first
            xyz[rows], normals[rows] = family.points(cells, draws[1, rows], draws[2, rows])
            owner[rows] = numbers[family.member[cells]]
            first += len(family.area)
        normals[self.cut[owner]] *= -1
        return xyz, normals, owner

    def inside(self, xyz: Array) -> Bools:
        """``(steps, N)``: whether each point is inside the solid of each step."""
        table = np.empty((self.count, len(xyz)), dtype=bool)
        columns = np.ascontiguousarray(xyz.T)
        for numbers, family in self.families:
            table[numbers] = family.inside(columns)
        return table

    def visible(self, xyz: Array, owner: Ints) -> Bools:
        """``(N,)``: whether points on the surface of a step are on the surface of the result."""
        inside = self.inside(xyz)
        every = np.arange(len(xyz))
        # A point on a body is not inside it; one on a rod may be inside another rod of the wire.
        inside[owner, every] &= self.is_wire[owner]
        number = np.arange(self.count)[:, None]
        covered = (inside & (number >= owner)).any(axis=0)
        # The last earlier step that contains the point decides what was there; 0 is empty space.
        before = np.where(inside & (number < owner), number + 1, 0).max(axis=0)
        material = np.concatenate([[False], ~self.cut])[before]
        visible: Bools = ~covered & (material == self.cut[owner])
        return visible
