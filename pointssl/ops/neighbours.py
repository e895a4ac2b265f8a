"""Nearest-neighbour and ball queries within each cloud."""

from types import ModuleType

import torch
from torch import Tensor

from pointssl.ops import cluster
from pointssl.ops.backends import backend_for
from pointssl.ops.exporting import is_exporting, knn_twin
from pointssl_datasets.base.errors import UsageError, UserError


@torch.no_grad()
def knn(points: Tensor, k: int) -> Tensor:
    """Return the indices of each point's ``k`` nearest points, including itself, in no order.

    EdgeConv takes a maximum over the neighbours, so their order does not matter. Nor do terms of
    the distance that are constant in a row: ``|x_i|^2`` is dropped from
    ``|x_i - x_j|^2 = |x_i|^2 - 2 x_i.x_j + |x_j|^2``, and the rest is one matrix product.

    Args:
        points: ``(B, N, C)``, coordinates or features.
        k: number of neighbours, at most N.

    Returns:
        ``(B, N, k)`` int64, indices into the N points of the same cloud.

    Raises:
        UserError: fewer points than ``k``.
    """
    require_enough(points.shape[1], k)
    points = exact(points)
    # Subtracting the mean is cheap and preserves precision if a cloud is far from the origin.
    points = points - points.mean(dim=1, keepdim=True)
    if is_exporting():
        return knn_twin(points, k)
    with torch.autocast(points.device.type, enabled=False):
        return _knn(points, k)


def _knn(points: Tensor, k: int) -> Tensor:
    """Compute :func:`knn` of centred points, in their own precision."""
    if cluster.takes(points):
        return cluster.knn(points, k)
    kernels = search_kernels(points, points, k)
    if kernels is not None:
        return kernels.knn(points, k)
    if points.device.type != "cpu":
        squared = points.square().sum(-1)
        closeness = torch.baddbmm(squared[:, None, :], points, points.mT, beta=-1, alpha=2)
        return closeness.topk(k, dim=-1, sorted=False).indices
    idx = torch.empty(*points.shape[:2], k, dtype=torch.int64)
    for cloud, indices in zip(points, idx, strict=True):
        _knn_in_blocks(cloud, k, indices)
    return idx


def search_kernels(queries: Tensor, points: Tensor, k: int) -> ModuleType | None:
    """Return the module whose kernels search these points; None for plain torch."""
    backend = backend_for(queries, points) if len(queries) == len(points) else "torch"
    if backend == "numba":
        from pointssl.ops.cpu import knn as compiled

        return compiled
    if backend == "triton":
        from pointssl.ops.gpu import knn as fused

        return fused if fused.fits(k) else None
    return None


# Plain torch on a CPU selects in two steps: it first compares only the closest point of each group
# of GROUP points, then all points of the k best groups, which contain the k nearest points.
GROUP = 8
ROWS = 256  # per block, so that its distances stay in cache
QUERIES = 2048
ORDERS = ("nearest", "first")  # of the points in a ball


def _knn_in_blocks(points: Tensor, k: int, out: Tensor) -> None:
    """Write the neighbours of ``points (N, C)`` into ``out (N, k)``."""
    count = len(points)
    groups = -(-count // GROUP)
    squared = points.square().sum(1, keepdim=True)
    left = torch.cat((points, torch.ones_like(squared)), dim=1)
    right = torch.cat((2 * points, -squared), dim=1)
    if groups > k:  # pad the last group with points at infinity
        far = torch.zeros_like(right[:1]).index_fill_(1, torch.tensor(points.shape[1]), -torch.inf)
        right = torch.cat((right, far.expand(groups * GROUP - count, -1)))
    for start in range(0, count, ROWS):
        part = slice(start, start + ROWS)
        closeness = left[part] @ right.t()
        if groups <= k:
            out[part] = closeness.topk(k, dim=1, sorted=False).indices
            continue
        members = closeness.view(-1, GROUP, groups)  # group g holds the points g, g + groups, ...
        best = members.amax(dim=1).topk(k, dim=1, sorted=False).indices
        members = members.gather(2, best[:, None].expand(-1, GROUP, -1)).flatten(1)
        winner = members.topk(k, dim=1, sorted=False).indices
        out[part] = best.gather(1, winner % k) + (winner // k) * groups


@torch.no_grad()
def knn_among(queries: Tensor, points: Tensor, k: int) -> Tensor:
    """Return the indices of the ``k`` points nearest to each query, in no order.

    Args:
        queries: ``(B, Q, C)``.
        points: ``(B, N, C)``.
        k: at most N.

    Returns:
        ``(B, Q, k)`` int64, indices into N.

    Raises:
        UserError: fewer points than ``k``.
    """
    require_enough(points.shape[1], k)
    queries, points = exact(queries), exact(points)
    middle = points.mean(dim=1, keepdim=True)
    queries, points = queries - middle, points - middle
    squared = points.square().sum(-1)[:, None, :]
    if is_exporting():
        return (2 * (queries @ points.mT) - squared).topk(k, dim=-1, sorted=False).indices
    with torch.autocast(points.device.type, enabled=False):
        kernels = search_kernels(queries, points, k)
        if kernels is not None:
            return kernels.knn_among(queries, points, k)
        blocks = [  # in blocks of queries, as there are Q x N distances
            torch.baddbmm(squared, part, points.mT, beta=-1, alpha=2)
            .topk(k, dim=-1, sorted=False)
            .indices
            for part in queries.split(QUERIES, dim=1)
        ]
    return blocks[0] if len(blocks) == 1 else torch.cat(blocks, dim=1)


@torch.no_grad()
def knn_reference(points: Tensor, k: int) -> Tensor:
    """Reference for :func:`knn`: explicit differences in float64, nearest first; slow."""
    require_enough(points.shape[1], k)
    points = points.double()
    distance = (points[:, :, None] - points[:, None, :]).square().sum(-1)
    return distance.argsort(dim=-1, stable=True)[..., :k]


@torch.no_grad()
def ball(queries: Tensor, points: Tensor, radius: float, k: int, order: str = "nearest") -> Tensor:
    """Return the indices of up to ``k`` points within ``radius`` of each query.

    If there are fewer than ``k``, the first is repeated. This is the grouping of PointNet++ (Qi et
    al. 2017, arXiv 1706.02413). Its public code takes the points with the lowest indices, so that
    the groups depend on the order of the points; ``"nearest"`` does not.

    Args:
        queries: ``(B, Q, 3)``; one without points within the radius gets the nearest point.
        points: ``(B, N, 3)``.
        radius: inclusive.
        k: capped at N.
        order: ``"nearest"`` or ``"first"``.

    Returns:
        ``(B, Q, min(k, N))`` int64, nearest or lowest index first.
    """
    check_order(order)
    k = min(k, points.shape[1])
    queries, points = exact(queries), exact(points)
    if backend_for(queries, points) == "numba" and in_space(queries, points) and k > 0:
        from pointssl.ops.cpu.search import ball as compiled_ball

        return compiled_ball(queries, points, radius, k, order)
    if backend_for(queries, points) == "triton" and in_space(queries, points) and k > 0:
        from pointssl.ops.gpu import ball as fused

        if fused.fits(k, order):
            return fused.ball(queries, points, radius, k, order)
    if is_exporting():
        distance = (queries[:, :, None] - points[:, None]).square().sum(-1).sqrt()
    else:
        distance = torch.cdist(queries, points, compute_mode="donot_use_mm_for_euclid_dist")
    if order == "nearest":
        distance, idx = distance.topk(k, largest=False, dim=-1, sorted=True)
        return torch.where(distance <= radius, idx, idx[..., :1])
    inside = distance <= radius
    rank = torch.arange(points.shape[1], device=points.device)
    idx = torch.where(inside, rank, points.shape[1]).topk(k, largest=False, sorted=True).values
    first = torch.where(inside.any(-1), idx[..., 0], distance.argmin(-1))[..., None]
    return torch.where(idx < points.shape[1], idx, first)


def in_space(queries: Tensor, points: Tensor) -> bool:
    """Return whether both have three coordinates and the same number of clouds, as the kernels
    require."""
    return len(queries) == len(points) and queries.shape[2] == points.shape[2] == 3


def exact(places: Tensor) -> Tensor:
    """Convert half precision to float32, as it can't tell nearby points apart."""
    return places.float() if places.dtype in (torch.float16, torch.bfloat16) else places


def check_order(order: str) -> None:
    """Raise UsageError unless ``order`` is one of :data:`ORDERS`; for constructors."""
    if order not in ORDERS:
        raise UsageError(f"order {order!r}: expected one of {', '.join(ORDERS)}")


def require_enough(points: int, k: int) -> None:
    """Raise UserError if clouds of this many ``points`` have fewer than ``k`` neighbours."""
    if points < k:
        raise UserError(
            f"clouds of {points} points have fewer than k = {k} neighbours: "
            "raise --points or lower --k"
        )
