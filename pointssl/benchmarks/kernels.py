"""Section ``kernels``: single point operations."""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from pointssl.benchmarks.case import Case, Run, Sizes, Work, as_list, random_clouds
from pointssl.ops import reference
from pointssl.ops.chamfer import chamfer
from pointssl.ops.gather import flat_index, neighbour_max
from pointssl.ops.interpolation import interpolate
from pointssl.ops.neighbours import ball, knn
from pointssl.ops.sampling import farthest_points

RADIUS = 0.4

# Title, kind, channels, points, k (or the number of farthest points), goals by device.
ROWS: list[tuple[str, str, int, int, int, dict[str, float]]] = [
    ("kNN", "knn", 3, 4096, 20, {"cpu": 15, "cuda": 3}),
    ("kNN", "knn", 64, 2048, 20, {"cpu": 4, "cuda": 3}),
    ("farthest points", "farthest", 3, 2048, 512, {"cpu": 60, "cuda": 20}),
    ("farthest points", "farthest", 3, 8192, 1024, {"cpu": 60, "cuda": 20}),
    ("gather, max, argmax", "gather", 64, 1024, 20, {}),
    ("ball", "ball", 3, 2048, 32, {}),
    ("interpolation", "interpolate", 128, 2048, 3, {}),
    ("Chamfer", "chamfer", 3, 2048, 1, {}),
]


def cases(level: str, gpu: bool) -> list[Case]:
    """Return the cases of this section; level ``quick`` has a quarter of the points, no goals."""
    result = []
    for title, kind, channels, points, k, goals in ROWS:
        if level == "quick":
            points //= 4
            k = k // 4 if kind == "farthest" else k
        sizes = {"clouds": 2 if level == "quick" else 8, "points": points, "channels": channels}
        count = {"farthest": f" -> {k}", "chamfer": ""}.get(kind, f", k {k}")
        case = Case(
            section="kernels",
            name=f"{title}, {channels}-D, {points}{count}",
            make=partial(_make, kind),
            sizes={**sizes, "k": k},
            small={**sizes, "clouds": 2, "points": 160, "k": min(k, 40)},
            work=partial(_work, kind),
            settle=partial(_settle, kind),
            goals={} if level == "quick" else goals,
        )
        result.append(case)
    return result


def _make(kind: str, side: str, sizes: Sizes, device: torch.device, dtype: torch.dtype) -> Run:
    """Prepare one call of an operation on random points."""
    clouds, points, k = sizes["clouds"], sizes["points"], sizes["k"]
    textbook = side == "textbook"
    values = random_clouds(clouds, points, device, sizes["channels"]).to(dtype)
    xyz = random_clouds(clouds, points, device).to(dtype)
    if kind == "knn":
        return partial(reference.textbook_knn if textbook else knn, values, k)
    if kind == "farthest":
        if textbook:
            return partial(reference.textbook_farthest, xyz, k)
        return partial(farthest_points, xyz, k, start="first")
    if kind == "gather":
        idx = torch.randint(points, (clouds, points, k), generator=torch.Generator().manual_seed(0))
        idx = idx.to(device)
        if textbook:
            return partial(reference.textbook_gather_max, values, idx)
        return partial(neighbour_max, values.flatten(0, 1), flat_index(idx))
    few = xyz[:, : points // 4].contiguous()
    if kind == "ball":
        if textbook:
            return partial(reference.textbook_ball, few, xyz, RADIUS, k)
        return partial(ball, few, xyz, RADIUS, k, order="first")
    if kind == "chamfer":
        other = xyz.flip(1) + 0.1
        if textbook:
            return partial(reference.textbook_chamfer, xyz, other)
        return partial(chamfer, xyz, other)
    few_values = values[:, : points // 4].contiguous()
    run = reference.textbook_interpolate if textbook else interpolate
    return partial(run, few_values, few, xyz)


def _settle(kind: str, output: Any) -> list[Tensor]:
    """Return the tensors in which both sides must agree; neighbours may be in any order."""
    if kind == "knn":
        return [output.sort(dim=-1).values]
    if kind == "gather":
        best, slot = output
        return [best.flatten(0, -2), slot.flatten(0, -2).long()]
    return as_list(output)


def _work(kind: str, sizes: Sizes) -> Work:
    """Count the arithmetic of the plain algorithm; inputs are read and outputs written once."""
    clouds, points, channels, k = (sizes[key] for key in ("clouds", "points", "channels", "k"))
    few = points // 4
    read = 4 * points * channels
    operations, written = {
        "knn": (2 * points * points * channels, 8 * points * k),
        "farthest": (10 * points * k, 8 * k),
        "gather": (points * k * channels, 8 * points * k + 5 * points * channels),
        "ball": (8 * points * few, 8 * few * k),
        "interpolate": (8 * points * few + 2 * 3 * points * channels, 4 * points * channels),
        "chamfer": (2 * 8 * points * points, 4 * points * (3 + 2)),
    }[kind]
    return Work(clouds * operations, clouds * (read + written))
