"""Which of its stored points stand for a cloud, by the name of ``--sampling``."""

import numpy as np
from numpy.typing import NDArray

from pointssl_datasets.points.farthest import farthest
from pointssl_datasets.points.sampling import POINTS, choose_random, generator, repeat_to


def choose_points(
    xyz: NDArray[np.float32], points: int, how: str, *, seed: int, epoch: int, index: int
) -> NDArray[np.int64]:
    """``(points,)`` rows of ``xyz (N, 3)``; where there are fewer, they are repeated.

    Args:
        how: ``"first"``, ``"random"`` (by seed, epoch and index of the cloud) or ``"fps"``.
    """
    if how == "random":
        return choose_random(len(xyz), points, generator(POINTS, seed, epoch, index))
    if how == "fps":
        return repeat_to(farthest(xyz, min(len(xyz), points)), points)
    return repeat_to(np.arange(len(xyz)), points)
