"""The points and neighbour graphs of a network that downsamples clouds stage by stage."""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from pointssl.ops.gather import rows_of
from pointssl.ops.packed import packed_farthest, packed_knn


class Edges(NamedTuple):
    """A neighbour graph: row numbers ``(Q, K)`` and relative positions ``x_j - x_i (Q, K, 3)``."""

    idx: Tensor
    apart: Tensor


class Level(NamedTuple):
    """The points of one stage.

    Attributes:
        xyz: ``(T, 3)``, the points of all clouds, concatenated.
        sizes: number of points of each cloud.
        shape: shape of returned features, ``(B, N)``, or ``(T,)`` for packed clouds.
        near: neighbours among the points of this level.
        above: neighbours among the points of the previous level; None if both levels are the same.
    """

    xyz: Tensor
    sizes: Sequence[int]
    shape: tuple[int, ...]
    near: Edges
    above: Edges | None

    def unflatten(self, x: Tensor) -> Tensor:
        """Reshape features ``(T, C)`` to ``(B, N, C)``; packed clouds keep ``(T, C)``."""
        return x.view(*self.shape, x.shape[-1])


def levels(
    xyz: Tensor,
    sizes: Sequence[int],
    shape: tuple[int, ...],
    strides: Sequence[int],
    neighbours: Sequence[int],
    start: str,
) -> list[Level]:
    """Build the levels of all stages by repeated farthest point sampling; every cloud keeps at
    least one point.

    Args:
        xyz: ``(T, 3)``.
        shape: ``(B, N)`` or ``(T,)``.
        strides: downsampling factor of each stage.
        neighbours: number of neighbours of each stage.
        start: see :func:`pointssl.ops.sampling.farthest_points`.
    """
    result: list[Level] = []
    for stride, k in zip(strides, neighbours, strict=True):
        above = None
        if stride > 1:
            kept = [max(1, size // stride) for size in sizes]
            chosen = xyz.index_select(0, packed_farthest(xyz, sizes, kept, start))
            above = edges(chosen, xyz, packed_knn(xyz, sizes, k, chosen, kept))
            xyz, sizes = chosen, kept
            shape = (len(xyz),) if len(shape) == 1 else (shape[0], kept[0])
        near = edges(xyz, xyz, packed_knn(xyz, sizes, k))
        result.append(Level(xyz, sizes, shape, near, above))
    return result


def edges(centres: Tensor, points: Tensor, idx: Tensor) -> Edges:
    """Return the graph from ``centres (Q, 3)`` to the ``points`` in rows ``idx (Q, K)``."""
    return Edges(idx, rows_of(points, idx) - centres[:, None])
