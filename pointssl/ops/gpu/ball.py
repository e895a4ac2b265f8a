"""Ball queries on GPUs; see :func:`pointssl.ops.neighbours.ball`."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from pointssl.ops.gpu.knn import MOST, nearest_ordered
from pointssl.ops.gpu.launching import blocks, device_of

QUERIES = 16
POINTS = 128


@triton.jit
def _first_inside(
    queries, points, found, nearest, radius, count, among, k,
    DOUBLE: tl.constexpr, QUERIES: tl.constexpr, POINTS: tl.constexpr,
):  # fmt: skip
    """Find the lowest indices of points within the radius, and the nearest point."""
    cloud = tl.program_id(1).to(tl.int64)
    q = tl.program_id(0) * QUERIES + tl.arange(0, QUERIES)
    real = q < count
    of_query = queries + (cloud * count + q) * 3
    x = tl.load(of_query, mask=real, other=0.0)[:, None]
    y = tl.load(of_query + 1, mask=real, other=0.0)[:, None]
    z = tl.load(of_query + 2, mask=real, other=0.0)[:, None]
    reach = tl.load(radius)
    seen = tl.zeros((QUERIES,), tl.int32)
    least = tl.full((QUERIES,), float("inf"), x.dtype)
    which = tl.zeros((QUERIES,), tl.int32)
    for start in range(0, among, POINTS):
        n = start + tl.arange(0, POINTS)
        inside = n < among
        of_point = points + (cloud * among + n) * 3
        dx = x - tl.load(of_point, mask=inside, other=0.0)[None, :]
        dy = y - tl.load(of_point + 1, mask=inside, other=0.0)[None, :]
        dz = z - tl.load(of_point + 2, mask=inside, other=0.0)[None, :]
        far = dx * dx + dy * dy + dz * dz
        far = tl.sqrt(far) if DOUBLE else tl.sqrt_rn(far)  # tl.sqrt of float32 is approximate
        far = tl.where(inside[None, :], far, float("inf"))
        near, place = tl.min(far, axis=1, return_indices=True)
        which = tl.where(near < least, start + place, which)
        least = tl.minimum(near, least)
        within = ((far <= reach) & inside[None, :]).to(tl.int32)
        rank = seen[:, None] + tl.cumsum(within, axis=1) - 1
        names = tl.broadcast_to(n[None, :], (QUERIES, POINTS)).to(tl.int64)
        tl.store(
            found + (cloud * count + q)[:, None] * k + rank, names,
            mask=(within > 0) & (rank < k) & real[:, None],
        )  # fmt: skip
        seen += tl.sum(within, axis=1)
    tl.store(nearest + cloud * count + q, which.to(tl.int64), mask=real)


@torch.library.custom_op("pointssl::first_inside", mutates_args=())
def _first(queries: Tensor, points: Tensor, radius: float, k: int) -> tuple[Tensor, Tensor]:
    """Return the lowest indices within the radius ``(B, Q, k)``, padded with N, and the nearest
    point ``(B, Q)``."""
    clouds, count = queries.shape[:2]
    among = points.shape[1]
    reach = queries.new_full((1,), radius)  # a Python float would be passed as float32
    found = torch.full((clouds, count, k), among, dtype=torch.int64, device=queries.device)
    nearest = found.new_empty(clouds, count)
    if found.numel():
        with device_of(queries):
            _first_inside[(blocks(count, QUERIES), clouds)](
                queries.contiguous(), points.contiguous(), found, nearest, reach, count, among,
                k, DOUBLE=queries.dtype == torch.float64, QUERIES=QUERIES, POINTS=POINTS,
                enable_fp_fusion=False,
            )  # fmt: skip
    return found, nearest


@_first.register_fake
def _(queries: Tensor, points: Tensor, radius: float, k: int) -> tuple[Tensor, Tensor]:
    found = queries.new_empty(*queries.shape[:2], k, dtype=torch.int64)
    return found, found.new_empty(queries.shape[:2])


def fits(k: int, order: str) -> bool:
    """Return whether the kernels support this ``k``."""
    return order == "first" or k <= MOST


def ball(queries: Tensor, points: Tensor, radius: float, k: int, order: str) -> Tensor:
    """See :func:`pointssl.ops.neighbours.ball`; ``k`` is at most N and must satisfy
    :func:`fits`."""
    if order == "nearest":
        found, squared = nearest_ordered(queries, points, k)
        return torch.where(squared.sqrt() <= radius, found, found[..., :1])
    found, nearest = _first(queries, points, radius, k)
    among = points.shape[1]
    first = torch.where(found[..., 0] < among, found[..., 0], nearest)[..., None]
    return torch.where(found < among, found, first)
