"""k nearest neighbours on GPUs: distances and selection in one kernel, with O(B Q k) memory.

A program owns a block of queries, loops over tiles of points, and keeps the k nearest so far in
registers. It removes the nearest point from a tile as long as some query has one nearer than its
k-th: on average k ln(N / k) times over all tiles, so that most distances are read only a few times
and never leave the registers.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from pointssl.ops.gpu.launching import blocks, device_of, power_of_two, sum_type

QUERIES = 16  # per program; they select in lockstep, so with fewer they wait less
POINTS = 128  # per tile: 16 x 128 numbers are 16 registers for each of 128 threads
CHANNELS = 32  # per step of a matrix product
DIRECT = 8  # maximum number of channels to sum squared differences; else use matrix products
MOST = 64  # neighbours that fit in the registers


@triton.jit
def _search(
    queries, points, found, squared, count, among, channels, K: tl.constexpr, KEPT: tl.constexpr,
    DIRECT: tl.constexpr, ORDERED: tl.constexpr, WIDE: tl.constexpr,
    QUERIES: tl.constexpr, POINTS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    cloud = tl.program_id(1).to(tl.int64)
    q = tl.program_id(0) * QUERIES + tl.arange(0, QUERIES)
    real = q < count
    of_query = queries + (cloud * count + q)[:, None] * channels
    places = tl.arange(0, KEPT)
    # Places beyond K are never the farthest, so no point ever replaces them.
    kept = tl.where(places < K, float("inf"), float("-inf")).to(WIDE)
    kept = tl.broadcast_to(kept[None, :], (QUERIES, KEPT))
    names = tl.broadcast_to(places[None, :], (QUERIES, KEPT))  # of points, so that all are valid
    for start in range(0, among, POINTS):
        n = start + tl.arange(0, POINTS)
        of_point = points + (cloud * among + n)[None, :] * channels
        far = tl.zeros((QUERIES, POINTS), WIDE)
        if DIRECT:
            for c in range(channels):
                a = tl.load(of_query + c, mask=real[:, None], other=0.0)
                b = tl.load(of_point + c, mask=(n < among)[None, :], other=0.0)
                far += (a - b) * (a - b)
        else:
            size = tl.zeros((1, POINTS), WIDE)
            for begin in range(0, channels, CHANNELS):
                c = begin + tl.arange(0, CHANNELS)
                inside = c < channels
                a = tl.load(of_query + c[None, :], mask=real[:, None] & inside[None, :], other=0.0)
                b = tl.load(of_point + c[:, None], mask=(n < among)[None, :] & inside[:, None],
                            other=0.0)  # fmt: skip
                far -= 2 * tl.dot(a, b, input_precision="ieee")
                size += tl.sum(b * b, axis=0)[None, :]
            far += size
        far = tl.where((n < among)[None, :] & real[:, None], far, float("inf"))
        finding = 1
        while finding > 0:
            near, which = tl.min(far, axis=1, return_indices=True)
            worst, place = tl.max(kept, axis=1, return_indices=True)
            nearer = near < worst
            put = nearer[:, None] & (places[None, :] == place[:, None])
            kept = tl.where(put, near[:, None], kept)
            names = tl.where(put, (start + which)[:, None], names)
            taken = nearer[:, None] & (tl.arange(0, POINTS)[None, :] == which[:, None])
            far = tl.where(taken, float("inf"), far)
            finding = tl.max(nearer.to(tl.int32), axis=0)
    out = (cloud * count + q) * K
    if ORDERED:
        kept = tl.where((places < K)[None, :], kept, float("inf"))
        left = tl.broadcast_to((places < K)[None, :], (QUERIES, KEPT)).to(tl.int32)
        for j in range(K):
            near = tl.min(tl.where(left > 0, kept, float("inf")), axis=1)
            # ties go to the lowest index
            same = (left > 0) & (kept == near[:, None])
            name = tl.min(tl.where(same, names, 2147483647), axis=1)
            tl.store(found + out + j, name.to(tl.int64), mask=real)
            tl.store(squared + out + j, near, mask=real)
            left = tl.where(same & (names == name[:, None]), 0, left)
    else:
        at = out[:, None] + places[None, :]
        mask = real[:, None] & (places < K)[None, :]
        tl.store(found + at, names.to(tl.int64), mask=mask)


def _find(queries: Tensor, points: Tensor, k: int, ordered: bool) -> tuple[Tensor, Tensor]:
    clouds, count, channels = queries.shape
    among = points.shape[1]
    if len(points) != clouds or points.shape[2] != channels:  # the kernel would read out of bounds
        raise ValueError(f"queries {tuple(queries.shape)} among points {tuple(points.shape)}")
    found = torch.empty(clouds, count, k, dtype=torch.int64, device=queries.device)
    squared = queries.new_empty((clouds, count, k) if ordered else (0, count, k))
    if found.numel():
        direct = channels <= DIRECT or queries.dtype == torch.float64
        with device_of(queries):
            _search[(blocks(count, QUERIES), clouds)](
                queries.contiguous(), points.contiguous(), found, squared, count, among, channels,
                K=k, KEPT=power_of_two(k, 2), DIRECT=direct, ORDERED=ordered,
                WIDE=sum_type(queries.dtype), QUERIES=QUERIES, POINTS=POINTS, CHANNELS=CHANNELS,
                num_warps=4, num_stages=2,
            )  # fmt: skip
    return found, squared


@torch.library.custom_op("pointssl::nearest_points", mutates_args=())
def nearest_points(queries: Tensor, points: Tensor, k: int) -> Tensor:
    return _find(queries, points, k, ordered=False)[0]


@torch.library.custom_op("pointssl::nearest_ordered", mutates_args=())
def nearest_ordered(queries: Tensor, points: Tensor, k: int) -> tuple[Tensor, Tensor]:
    return _find(queries, points, k, ordered=True)


@nearest_points.register_fake
def _(queries: Tensor, points: Tensor, k: int) -> Tensor:
    return queries.new_empty(*queries.shape[:2], k, dtype=torch.int64)


@nearest_ordered.register_fake
def _(queries: Tensor, points: Tensor, k: int) -> tuple[Tensor, Tensor]:
    shape = (*queries.shape[:2], k)
    return queries.new_empty(shape, dtype=torch.int64), queries.new_empty(shape)


def fits(k: int) -> bool:
    """Return whether the kernel supports this ``k``."""
    return k <= MOST


def knn(points: Tensor, k: int) -> Tensor:
    """Find the ``k`` nearest of centred points, ``(B, N, C)``, at least float32, to ``(B, N, k)``
    int64, in no order."""
    return nearest_points(points, points, k)


def knn_among(queries: Tensor, points: Tensor, k: int) -> Tensor:
    """Find the ``k`` nearest points, ``(B, Q, C)`` and ``(B, N, C)``, centred and at least float32,
    to ``(B, Q, k)`` int64, indices into N, in no order."""
    return nearest_points(queries, points, k)


def nearest(queries: Tensor, points: Tensor, k: int) -> Tensor:
    """Like :func:`knn_among`, but nearest first, with ties by the lowest index."""
    return nearest_ordered(queries, points, k)[0]
