"""Choosing the points of a cloud by the name of a sampling: first, random or fps."""

import numpy as np
from numpy.typing import NDArray

from pointssl_datasets.points.farthest import farthest
from pointssl_datasets.points.sampling import POINTS, choose_random, generator, repeat_to


def choose_points(
    xyz: NDArray[np.float32], points: int, sampling: str, *, seed: int, epoch: int, index: int
) -> NDArray[np.int64]:
    """``(points,)`` rows of ``xyz (N, 3)``. If N is smaller, rows are repeated.

    Args:
        sampling: ``"first"``, ``"random"`` or ``"fps"`` (farthest point sampling).
        seed, epoch, index: what a random choice depends on; ``index`` is the number of the cloud.
    """
    if sampling == "random":
        return choose_random(len(xyz), points, generator(POINTS, seed, epoch, index))
    if sampling == "fps":
        return repeat_to(farthest(xyz, min(len(xyz), points)), points)
    return repeat_to(np.arange(len(xyz)), points)
