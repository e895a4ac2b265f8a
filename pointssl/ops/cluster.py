"""Optional torch-cluster backend for nearest neighbours and farthest point sampling.

torch-cluster takes packed clouds. On a CPU the kernels of :mod:`pointssl.ops.cpu` are faster, so
the automatic choice never selects it.
"""

import importlib
from types import ModuleType

import torch
from torch import Tensor

from pointssl.ops.backends import imports, wants_cluster


def takes(points: Tensor) -> bool:
    """Return whether torch-cluster runs on these points: it is selected, and all are finite."""
    return (
        wants_cluster()
        and type(points) is Tensor
        and not torch.compiler.is_compiling()
        and imports("torch_cluster")
        and bool(points.isfinite().all())
    )


def knn(points: Tensor, k: int) -> Tensor:
    """Return the ``k`` nearest of each point, ``(B, N, C)`` to ``(B, N, k)`` int64, in no order."""
    flat, clouds = _packed(points)
    _, idx = _module().knn(flat, flat, k, clouds, clouds)
    return idx.view(*points.shape[:2], k) - _first_rows(points)[:, None, None]


def farthest_points(xyz: Tensor, first: Tensor, count: int) -> Tensor:
    """Sample ``count`` points, ``(B, N, 3)`` and first indices ``(B,)`` to ``(B, count)`` int64.

    torch-cluster starts at a cloud's point 0, which is therefore swapped with the first point. Ties
    need not go to the lowest index.
    """
    clouds, points = xyz.shape[:2]
    order = torch.arange(points, device=xyz.device).repeat(clouds, 1)
    order.scatter_(1, first[:, None], 0)
    order[:, 0] = first
    flat, cloud_index = _packed(xyz.gather(1, order[..., None].expand_as(xyz)))
    ratio = (count - 0.5) / points  # fps rounds the number of points up
    chosen = _module().fps(flat, cloud_index, ratio, random_start=False).view(clouds, count)
    return order.gather(1, chosen - _first_rows(xyz)[:, None])


def _module() -> ModuleType:
    return importlib.import_module("torch_cluster")


def _packed(points: Tensor) -> tuple[Tensor, Tensor]:
    """Flatten clouds to rows ``(B * N, C)``, and return the cloud index of each row."""
    clouds, count = points.shape[:2]
    cloud_index = torch.arange(clouds, device=points.device).repeat_interleave(count)
    return points.reshape(clouds * count, -1).contiguous(), cloud_index


def _first_rows(points: Tensor) -> Tensor:
    """Return the first row number of each cloud, ``(B,)``."""
    return torch.arange(len(points), device=points.device) * points.shape[1]
