"""Nearest neighbours of every point among the points of its own cloud."""

import torch
from pointssl_datasets.errors import UserError
from torch import Tensor


@torch.no_grad()
def knn(points: Tensor, k: int) -> Tensor:
    """Indices of the ``k`` nearest points of each point, itself included, in no order.

    EdgeConv takes a maximum over the neighbours, so their order is not needed, and neither are
    terms of the distance that are the same for a whole row: of
    ``|x_i - x_j|^2 = |x_i|^2 - 2 x_i.x_j + |x_j|^2`` the first is dropped.

    Args:
        points: ``(B, N, C)``, coordinates or features.
        k: neighbours, at most N.

    Returns:
        ``(B, N, k)`` int64, indices into the N points of the same cloud.

    Raises:
        UserError: fewer points than ``k``.
    """
    _require_enough(points, k)
    # Subtracting the mean costs nothing and keeps digits when a cloud lies far from the origin.
    points = points - points.mean(dim=1, keepdim=True)
    squared = points.square().sum(-1)
    closeness = torch.baddbmm(squared[:, None, :], points, points.mT, beta=-1, alpha=2)
    return closeness.topk(k, dim=-1, sorted=False).indices


@torch.no_grad()
def knn_reference(points: Tensor, k: int) -> Tensor:
    """The same neighbours by explicit differences in float64, nearest first: slow and obvious."""
    _require_enough(points, k)
    points = points.double()
    distance = (points[:, :, None] - points[:, None, :]).square().sum(-1)
    return distance.argsort(dim=-1, stable=True)[..., :k]


def _require_enough(points: Tensor, k: int) -> None:
    if points.shape[1] < k:
        raise UserError(
            f"clouds of {points.shape[1]} points have fewer than k = {k} neighbours: "
            "raise --points or lower --k"
        )
