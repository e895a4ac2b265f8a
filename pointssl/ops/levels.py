"""The places of a network that thins clouds out stage by stage, with their neighbours."""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from pointssl.ops.gather import rows_of
from pointssl.ops.packed import packed_farthest, packed_knn


class Edges(NamedTuple):
    """Neighbours of points, as row numbers ``(Q, K)``, and ``x_j - x_i`` ``(Q, K, 3)``."""

    idx: Tensor
    apart: Tensor


class Level(NamedTuple):
    """The points of one stage.

    Attributes:
        xyz: ``(T, 3)``, cloud after cloud.
        sizes: points of each cloud.
        shape: in which their features are handed out: ``(B, N)``, or ``(T,)`` of packed clouds.
        near: their neighbours among themselves.
        above: their neighbours among the points of the level above; None where those are the same.
    """

    xyz: Tensor
    sizes: Sequence[int]
    shape: tuple[int, ...]
    near: Edges
    above: Edges | None

    def handed_out(self, x: Tensor) -> Tensor:
        """``(T, C)`` as ``(B, N, C)`` or as it is."""
        return x.view(*self.shape, x.shape[-1])


def levels(
    xyz: Tensor,
    sizes: Sequence[int],
    shape: tuple[int, ...],
    strides: Sequence[int],
    neighbours: Sequence[int],
    start: str,
) -> list[Level]:
    """The points of every stage, each farthest points of the stage before; at least one a cloud.

    Args:
        xyz: ``(T, 3)``.
        shape: ``(B, N)`` or ``(T,)``.
        strides: of how many points each stage keeps one.
        neighbours: how many each stage has.
        start: see :func:`pointssl.ops.sampling.farthest_points`.
    """
    found: list[Level] = []
    for stride, k in zip(strides, neighbours, strict=True):
        above = None
        if stride > 1:
            kept = [max(1, size // stride) for size in sizes]
            chosen = xyz.index_select(0, packed_farthest(xyz, sizes, kept, start))
            above = edges(chosen, xyz, packed_knn(xyz, sizes, k, chosen, kept))
            xyz, sizes = chosen, kept
            shape = (len(xyz),) if len(shape) == 1 else (shape[0], kept[0])
        near = edges(xyz, xyz, packed_knn(xyz, sizes, k))
        found.append(Level(xyz, sizes, shape, near, above))
    return found


def edges(centres: Tensor, points: Tensor, idx: Tensor) -> Edges:
    return Edges(idx, rows_of(points, idx) - centres[:, None])
