"""Textbook versions of the point operations: every distance sorted, every edge in memory.

The fast operations are tested and benchmarked against these. They follow the papers and the public
PyTorch code of DGCNN (Wang et al. 2019, arXiv 1801.07829), PointNet++, Point Transformer and PCT.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm


def rows_at(values: Tensor, idx: Tensor) -> Tensor:
    """Gather rows: ``(B, N, C)`` at indices ``(B, ...)`` to ``(B, ..., C)``."""
    batch = torch.arange(len(values), device=values.device).view(-1, *(1,) * (idx.dim() - 1))
    return values[batch, idx]


def square_distance(queries: Tensor, points: Tensor) -> Tensor:
    """Compute ``|q|^2 - 2 q.p + |p|^2``, ``(B, Q, C)`` and ``(B, N, C)`` to ``(B, Q, N)``."""
    distance = -2 * torch.matmul(queries, points.mT)
    distance += (queries**2).sum(-1, keepdim=True)
    return distance + (points**2).sum(-1)[:, None, :]


def textbook_knn(points: Tensor, k: int) -> Tensor:
    """Find neighbours by a sorted ``topk`` of ``-|x_i|^2 + 2 x_i.x_j - |x_j|^2``, as DGCNN's code.

    ``(B, N, C)`` to ``(B, N, k)``.
    """
    inner = -2 * torch.matmul(points, points.mT)
    squared = (points**2).sum(dim=-1, keepdim=True)
    return (-squared - inner - squared.mT).topk(k, dim=-1).indices


def textbook_knn_among(queries: Tensor, points: Tensor, k: int) -> Tensor:
    """Find neighbours by a sorted ``topk`` of all distances: ``(B, Q, C)`` and ``(B, N, C)`` to
    ``(B, Q, k)``."""
    return square_distance(queries, points).topk(k, dim=-1, largest=False).indices


def textbook_farthest(xyz: Tensor, count: int) -> Tensor:
    """Sample farthest points, starting at index 0, in the loop of PointNet++'s PyTorch code:
    ``(B, N, 3)`` to ``(B, count)``."""
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
    """Find the first ``k`` points within ``radius`` by sorting all indices, as PointNet++'s
    code."""
    count = points.shape[1]
    idx = torch.arange(count, device=points.device).repeat(*queries.shape[:2], 1)
    idx[square_distance(queries, points) > radius**2] = count
    idx = idx.sort(dim=-1).values[..., :k]
    return torch.where(idx == count, idx[..., :1], idx)


def textbook_interpolate(values: Tensor, places: Tensor, targets: Tensor) -> Tensor:
    """Interpolate from the three nearest places, found by sorting all distances: ``(B, N, C)``."""
    squared, idx = square_distance(targets, places).sort(dim=-1)
    weight = 1 / (squared[..., :3] + 1e-8)
    weight = weight / weight.sum(-1, keepdim=True)
    return (rows_at(values, idx[..., :3]) * weight[..., None]).sum(2)


def textbook_gather_max(values: Tensor, idx: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the maximum over all edges ``(B, N, k, C)`` and its index among the k."""
    best = rows_at(values, idx).max(dim=2)
    return best.values, best.indices


def textbook_chamfer(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Compute squared distances to the nearest point of the other cloud, in both directions, from
    the matrix of all distances."""
    squared = square_distance(a, b)
    return squared.min(2).values, squared.min(1).values


def edge_features(x: Tensor, idx: Tensor, centres: Tensor | None = None) -> Tensor:
    """Return ``[x_j - x_i ; x_i]`` for each centre i and each of its neighbours j.

    Args:
        x: ``(B, N, C)``.
        idx: ``(B, M, K)`` indices into N.
        centres: ``(B, M, C)``, by default ``x``.

    Returns:
        ``(B, M, K, 2C)``.
    """
    centre = x if centres is None else centres
    centre = centre[:, :, None].expand(-1, -1, idx.shape[-1], -1)
    return torch.cat((rows_at(x, idx) - centre, centre), dim=-1)


def _shared_layer(edges: Tensor, weight: Tensor, norm: _BatchNorm, slope: float) -> Tensor:
    """Apply a linear layer, norm and leaky ReLU to every edge ``(B, N, K, C)``."""
    edges = F.linear(edges, weight)
    edges = norm(edges.flatten(0, 2)).view_as(edges)
    return F.leaky_relu(edges, slope)


def edge_conv_reference(
    x: Tensor,
    idx: Tensor,
    weight: Tensor,
    norm: _BatchNorm,
    slope: float = 0.2,
    centres: Tensor | None = None,
) -> Tensor:
    """Compute ``max_j leaky_relu(norm(W [x_j - x_i ; x_i]))``, ``(B, N, C)`` to ``(B, M, O)``."""
    return _shared_layer(edge_features(x, idx, centres), weight, norm, slope).max(dim=2).values


def double_edge_conv_reference(
    x: Tensor,
    idx: Tensor,
    weight1: Tensor,
    norm1: _BatchNorm,
    weight2: Tensor,
    norm2: _BatchNorm,
    slope: float = 0.2,
    centres: Tensor | None = None,
) -> Tensor:
    """Compute two shared layers on every edge, then the maximum: ``(B, N, C)`` to ``(B, M, P)``."""
    edges = _shared_layer(edge_features(x, idx, centres), weight1, norm1, slope)
    return _shared_layer(edges, weight2, norm2, slope).max(dim=2).values
