"""torch-cluster, where it is installed and asked for: neighbours and farthest points.

It takes clouds packed one behind the other. On a CPU the kernels of :mod:`pointssl.ops.cpu` are
faster, so that it is never chosen by itself.
"""

import importlib
from types import ModuleType

import torch
from torch import Tensor

from pointssl.ops.backends import imports, wants_cluster


def takes(points: Tensor) -> bool:
    """Whether it is to run on these points: asked for, and none of them infinite or NaN."""
    return (
        wants_cluster()
        and type(points) is Tensor
        and not torch.compiler.is_compiling()
        and imports("torch_cluster")
        and bool(points.isfinite().all())
    )


def knn(points: Tensor, k: int) -> Tensor:
    """``(B, N, C)`` to the ``k`` nearest of each point, ``(B, N, k)`` int64, in no order."""
    flat, clouds = _packed(points)
    _, found = _module().knn(flat, flat, k, clouds, clouds)
    return found.view(*points.shape[:2], k) - _begins(points)[:, None, None]


def farthest_points(xyz: Tensor, first: Tensor, count: int) -> Tensor:
    """``(B, N, 3)`` and the first of each cloud ``(B,)`` to ``(B, count)`` int64.

    It begins at a cloud's point 0, which therefore changes places with the first. Of points equally
    far it may take another than the lowest.
    """
    clouds, points = xyz.shape[:2]
    order = torch.arange(points, device=xyz.device).repeat(clouds, 1)
    order.scatter_(1, first[:, None], 0)
    order[:, 0] = first
    flat, names = _packed(xyz.gather(1, order[..., None].expand_as(xyz)))
    ratio = (count - 0.5) / points  # which is rounded up to whole points
    found = _module().fps(flat, names, ratio, random_start=False).view(clouds, count)
    return order.gather(1, found - _begins(xyz)[:, None])


def _module() -> ModuleType:
    return importlib.import_module("torch_cluster")


def _packed(points: Tensor) -> tuple[Tensor, Tensor]:
    """Rows ``(B * N, C)``, and which cloud each is of."""
    clouds, count = points.shape[:2]
    names = torch.arange(clouds, device=points.device).repeat_interleave(count)
    return points.reshape(clouds * count, -1).contiguous(), names


def _begins(points: Tensor) -> Tensor:
    """The row that each cloud begins at, ``(B,)``."""
    return torch.arange(len(points), device=points.device) * points.shape[1]
