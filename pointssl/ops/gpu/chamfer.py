"""The nearest point of another cloud, by which Chamfer distances are measured."""

import torch
from torch import Tensor

from pointssl.ops.gather import take_rows
from pointssl.ops.gpu.search import nearest_ordered


def nearest(queries: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """Squared distance to the nearest point, with a gradient to both, and which one it is.

    Args:
        queries: ``(B, Q, C)``.
        points: ``(B, N, C)``.

    Returns:
        ``(B, Q)``, and ``(B, Q)`` int64, of the equally near the lowest index.
    """
    with torch.no_grad():
        found, squared = nearest_ordered(queries, points, 1)
    found = found[..., 0]
    if queries.requires_grad or points.requires_grad:
        return (queries - take_rows(points, found)).square().sum(-1), found
    return squared[..., 0], found
