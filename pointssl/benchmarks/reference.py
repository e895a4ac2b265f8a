"""Point operations as public code has them: every distance sorted, every edge in memory.

What the fast paths are measured against and compared with. Written after the papers and the public
PyTorch code of DGCNN, PointNet++, Point Transformer and PCT.
"""

import torch
from torch import Tensor


def square_distance(queries: Tensor, points: Tensor) -> Tensor:
    """``|q|^2 - 2 q.p + |p|^2``, ``(B, Q, C)`` and ``(B, N, C)`` to ``(B, Q, N)``."""
    distance = -2 * torch.matmul(queries, points.mT)
    distance += (queries**2).sum(-1, keepdim=True)
    return distance + (points**2).sum(-1)[:, None, :]


def textbook_knn(points: Tensor, k: int) -> Tensor:
    """``-|x_i|^2 + 2 x_i.x_j - |x_j|^2`` and a sorted ``topk``, as DGCNN's code has it.

    ``(B, N, C)`` to ``(B, N, k)``.
    """
    inner = -2 * torch.matmul(points, points.mT)
    squared = (points**2).sum(dim=-1, keepdim=True)
    return (-squared - inner - squared.mT).topk(k, dim=-1).indices


def textbook_knn_among(queries: Tensor, points: Tensor, k: int) -> Tensor:
    """All distances and a sorted ``topk``: ``(B, Q, C)`` and ``(B, N, C)`` to ``(B, Q, k)``."""
    return square_distance(queries, points).topk(k, dim=-1, largest=False).indices


def rows_at(values: Tensor, idx: Tensor) -> Tensor:
    """``(B, N, C)`` at ``(B, ...)`` to ``(B, ..., C)``."""
    batch = torch.arange(len(values), device=values.device).view(-1, *(1,) * (idx.dim() - 1))
    return values[batch, idx]


def textbook_farthest(xyz: Tensor, count: int) -> Tensor:
    """The loop of PointNet++'s PyTorch code from the first point: ``(B, N, 3)`` to
    ``(B, count)``."""
    clouds, points, _ = xyz.shape
    chosen = torch.zeros(clouds, count, dtype=torch.long, device=xyz.device)
    distance = torch.full((clouds, points), 1e10, dtype=xyz.dtype, device=xyz.device)
    farthest = torch.zeros(clouds, dtype=torch.long, device=xyz.device)
    rows = torch.arange(clouds, device=xyz.device)
    for step in range(count):
        chosen[:, step] = farthest
        centre = xyz[rows, farthest][:, None]
        apart = ((xyz - centre) ** 2).sum(-1)
        nearer = apart < distance
        distance[nearer] = apart[nearer]
        farthest = distance.max(-1).indices
    return chosen


def textbook_ball(queries: Tensor, points: Tensor, radius: float, k: int) -> Tensor:
    """The first ``k`` points within ``radius``, by sorting all indices, as PointNet++'s code."""
    count = points.shape[1]
    idx = torch.arange(count, device=points.device).repeat(*queries.shape[:2], 1)
    idx[square_distance(queries, points) > radius**2] = count
    idx = idx.sort(dim=-1).values[..., :k]
    return torch.where(idx == count, idx[..., :1], idx)


def textbook_interpolate(values: Tensor, places: Tensor, targets: Tensor) -> Tensor:
    """Three nearest by sorting all distances, their values gathered: ``(B, N, C)``."""
    squared, idx = square_distance(targets, places).sort(dim=-1)
    weight = 1 / (squared[..., :3] + 1e-8)
    weight = weight / weight.sum(-1, keepdim=True)
    return (rows_at(values, idx[..., :3]) * weight[..., None]).sum(2)


def textbook_gather_max(values: Tensor, idx: Tensor) -> tuple[Tensor, Tensor]:
    """All edges ``(B, N, k, C)``, then their maximum and which one it was."""
    found = rows_at(values, idx).max(dim=2)
    return found.values, found.indices


def textbook_chamfer(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Squared distances to the nearest of the other cloud, both ways, from a matrix of all."""
    squared = square_distance(a, b)
    return squared.min(2).values, squared.min(1).values
