"""Nearest neighbours in no order, as :mod:`pointssl.ops.neighbours` has them."""

import torch
from torch import Tensor

from pointssl.ops.gpu.search import MOST, nearest_points


def fits(k: int) -> bool:
    """Whether the kernel can find so many."""
    return k <= MOST


@torch.no_grad()
def knn(points: Tensor, k: int) -> Tensor:
    """``(B, N, C)`` around the origin, at least float32, to ``(B, N, k)`` int64."""
    return nearest_points(points, points, k)


@torch.no_grad()
def knn_among(queries: Tensor, points: Tensor, k: int) -> Tensor:
    """``(B, Q, C)`` and ``(B, N, C)`` to ``(B, Q, k)`` int64, indices into N."""
    return nearest_points(queries, points, k)
