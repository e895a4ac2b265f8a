"""Chamfer distance between two clouds."""

from torch import Tensor

from pointssl.ops.gather import take_rows
from pointssl.ops.interpolation import nearest
from pointssl.ops.neighbours import exact


def chamfer(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the squared distance of every point to the nearest point of the other cloud, in both
    directions.

    The Chamfer distance is usually the sum of both means (Fan et al. 2017, arXiv 1612.00603); some
    papers use roots or maxima, so the reduction is left to the caller. Differentiable in both
    clouds; the gradient treats the choice of the nearest point as constant.

    Args:
        a: ``(B, N, 3)``.
        b: ``(B, M, 3)``.

    Returns:
        ``(B, N)``, from points of ``a`` to ``b``, and ``(B, M)``, from points of ``b`` to ``a``.
    """
    a, b = exact(a), exact(b)
    return _to_nearest(a, b), _to_nearest(b, a)


def _to_nearest(queries: Tensor, points: Tensor) -> Tensor:
    """Compute squared distances ``(B, Q)`` from ``queries (B, Q, 3)`` to their nearest points."""
    return (queries - take_rows(points, nearest(queries, points, 1)[..., 0])).square().sum(-1)


def chamfer_reference(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Reference for :func:`chamfer`, from the matrix of all distances."""
    squared = (a[:, :, None] - b[:, None]).square().sum(-1)
    return squared.amin(2), squared.amin(1)
