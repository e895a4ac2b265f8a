"""Farthest point sampling on GPUs: one program per cloud, with all distances in registers.

A step takes a few hundred cycles; in plain torch it takes about six successive kernels.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from pointssl.ops.gpu.launching import device_of, power_of_two

# Maximum number of points in registers: 8192 x 4 numbers are 64 for each of 512 threads. Larger
# clouds are read again tile by tile at each step, and their distances are kept in memory.
RESIDENT = 8192


@triton.jit
def _sample(
    xyz, first, chosen, far, points, count, WHOLE: tl.constexpr, POINTS: tl.constexpr
):  # fmt: skip
    cloud = tl.program_id(0).to(tl.int64)
    xyz += cloud * points * 3
    chosen += cloud * count
    far += cloud * points
    latest = tl.load(first + cloud)
    n = tl.arange(0, POINTS)
    if WHOLE:
        real = n < points
        x = tl.load(xyz + n * 3, mask=real, other=0.0)
        y = tl.load(xyz + n * 3 + 1, mask=real, other=0.0)
        z = tl.load(xyz + n * 3 + 2, mask=real, other=0.0)
        least = tl.where(real, float("inf"), float("-inf")).to(x.dtype)
        for step in range(count):
            tl.store(chosen + step, latest)
            dx = x - tl.load(xyz + latest * 3)
            dy = y - tl.load(xyz + latest * 3 + 1)
            dz = z - tl.load(xyz + latest * 3 + 2)
            least = tl.minimum(least, dx * dx + dy * dy + dz * dz)
            latest = tl.argmax(least, axis=0).to(tl.int64)
    else:
        for step in range(count):
            tl.store(chosen + step, latest)
            a = tl.load(xyz + latest * 3)
            b = tl.load(xyz + latest * 3 + 1)
            c = tl.load(xyz + latest * 3 + 2)
            top = a * 0 - 1  # same dtype, below every distance
            for start in range(0, points, POINTS):
                m = start + n
                real = m < points
                dx = tl.load(xyz + m * 3, mask=real, other=0.0) - a
                dy = tl.load(xyz + m * 3 + 1, mask=real, other=0.0) - b
                dz = tl.load(xyz + m * 3 + 2, mask=real, other=0.0) - c
                before = tl.load(far + m, mask=real, other=0.0)
                least = tl.minimum(before, dx * dx + dy * dy + dz * dz)
                tl.store(far + m, least, mask=real)
                best, which = tl.max(
                    tl.where(real, least, -1.0).to(least.dtype), axis=0, return_indices=True
                )
                latest = tl.where(best > top, (start + which).to(tl.int64), latest)
                top = tl.maximum(top, best)
            tl.debug_barrier()  # the next step reads the distances written here


@torch.library.custom_op("pointssl::farthest_points", mutates_args=())
def farthest_points(xyz: Tensor, first: Tensor, count: int) -> Tensor:
    """Sample ``count`` points, ``(B, N, 3)`` and first indices ``(B,)`` to ``(B, count)`` int64;
    ties go to the lowest index."""
    clouds, points = xyz.shape[:2]
    chosen = torch.empty(clouds, count, dtype=torch.int64, device=xyz.device)
    whole = points <= RESIDENT
    far = xyz.new_full((0 if whole else clouds, points), torch.inf)
    if chosen.numel():
        size = power_of_two(min(points, RESIDENT), 32)
        with device_of(xyz):
            _sample[(clouds,)](
                xyz.contiguous(), first.contiguous(), chosen, far, points, count,
                WHOLE=whole, POINTS=size, num_warps=max(1, min(16, size // 128)),
                enable_fp_fusion=False,  # rounds as torch does, so that the same points win
            )  # fmt: skip
    return chosen


@farthest_points.register_fake
def _(xyz: Tensor, first: Tensor, count: int) -> Tensor:
    return first.new_empty(len(xyz), count)
