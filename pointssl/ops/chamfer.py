"""Chamfer distance: how far the points of two clouds are from the other cloud."""

from torch import Tensor

from pointssl.ops.gather import take_rows
from pointssl.ops.interpolation import nearest
from pointssl.ops.neighbours import exact


def chamfer(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Squared distance of every point to the nearest of the other cloud, both ways.

    The distance of two clouds is usually the sum of both means (Fan et al. 2017, arXiv 1612.00603);
    others take roots or maxima, which is left to the caller. Differentiable in both clouds: the
    nearest point is taken as given.

    Args:
        a: ``(B, N, 3)``.
        b: ``(B, M, 3)``.

    Returns:
        ``(B, N)``, from points of ``a`` to ``b``, and ``(B, M)``, from points of ``b`` to ``a``.
    """
    a, b = exact(a), exact(b)
    return _to_nearest(a, b), _to_nearest(b, a)


def _to_nearest(queries: Tensor, points: Tensor) -> Tensor:
    """``(B, Q, 3)`` and ``(B, N, 3)`` to ``(B, Q)``."""
    return (queries - take_rows(points, nearest(queries, points, 1)[..., 0])).square().sum(-1)


def chamfer_reference(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """The same from all distances at once."""
    squared = (a[:, :, None] - b[:, None]).square().sum(-1)
    return squared.amin(2), squared.amin(1)
