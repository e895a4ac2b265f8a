"""Farthest point sampling."""

import torch
from torch import Tensor

from pointssl.ops import cluster
from pointssl.ops.backends import backend_for
from pointssl_datasets.base.errors import UsageError

STARTS = ("far", "first")


@torch.no_grad()
def farthest_points(xyz: Tensor, count: int, start: str = "far") -> Tensor:
    """Return the indices of ``count`` points, each the farthest from those chosen before it.

    Eldar et al. 1997, in the form of PointNet++ (Qi et al. 2017, arXiv 1706.02413). Ties go to the
    lowest index.

    Args:
        xyz: ``(B, N, 3)``.
        count: capped at N.
        start: ``"far"``: start at the point farthest from the cloud's mean, so that the choice does
            not depend on the order of the points; ``"first"``: at index 0, as in public code.

    Returns:
        ``(B, min(count, N))`` int64.
    """
    check_start(start)
    clouds, points = xyz.shape[:2]
    count = min(count, points)
    chosen = torch.empty(clouds, count, dtype=torch.int64, device=xyz.device)
    if start == "first":
        latest = torch.zeros(clouds, dtype=torch.int64, device=xyz.device)
    else:
        latest = (xyz - xyz.mean(1, keepdim=True)).square().sum(-1).argmax(1)
    if cluster.takes(xyz) and count > 0:
        return cluster.farthest_points(xyz, latest, count)
    if backend_for(xyz) == "numba" and count > 0 and xyz.shape[2] == 3:
        from pointssl.ops.cpu.sampling import farthest_points as compiled_farthest_points

        return compiled_farthest_points(xyz, latest, count)
    if backend_for(xyz) == "triton" and xyz.shape[2] == 3:
        from pointssl.ops.gpu.sampling import farthest_points as fused_farthest_points

        return fused_farthest_points(xyz, latest, count)
    distance = xyz.new_full((clouds, points), torch.inf)
    rows = torch.arange(clouds, device=xyz.device)
    columns = xyz.mT.contiguous()  # axes first, so that the sum over them is plain additions
    for step in range(count):
        chosen[:, step] = latest
        apart = (columns - xyz[rows, latest][:, :, None]).square_()
        distance = torch.minimum(distance, apart[:, 0] + apart[:, 1] + apart[:, 2])
        latest = distance.argmax(1)
    return chosen


def check_start(start: str) -> None:
    """Raise UsageError unless ``start`` is one of :data:`STARTS`; for constructors."""
    if start not in STARTS:
        raise UsageError(f"start {start!r}: expected one of {', '.join(STARTS)}")


def farthest_points_reference(xyz: Tensor, count: int, start: str = "far") -> list[list[int]]:
    """Reference for :func:`farthest_points`: plain loops over float64 numbers; slow."""
    result = []
    for cloud in xyz.double().tolist():

        def apart(a: list[float], b: list[float]) -> float:
            return sum((x - y) ** 2 for x, y in zip(a, b, strict=True))

        mean = [sum(axis) / len(cloud) for axis in zip(*cloud, strict=True)]
        candidates = range(len(cloud))
        first = max(candidates, key=lambda i: apart(cloud[i], mean)) if start == "far" else 0
        chosen = [first]
        while len(chosen) < min(count, len(cloud)):
            chosen.append(
                max(candidates, key=lambda i: min(apart(cloud[i], cloud[j]) for j in chosen))
            )
        result.append(chosen)
    return result
