"""Farthest point sampling in plain NumPy: the oracle of the compiled one."""

import numpy as np
from numpy.typing import NDArray


def farthest(xyz: NDArray[np.float32], points: int) -> NDArray[np.int64]:
    """``(points,)`` rows of ``xyz (N, 3)``, from row 0; ties go to the lowest row."""
    chosen = np.zeros(points, dtype=np.int64)
    distance = np.full(len(xyz), np.inf, dtype=np.float32)
    for i in range(1, points):
        step = xyz - xyz[chosen[i - 1]]
        np.minimum(distance, np.einsum("nc,nc->n", step, step), out=distance)
        chosen[i] = distance.argmax()
    return chosen
