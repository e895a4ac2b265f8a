"""Weights of :func:`.heights.profiles` per class, for predicting the up axis.

A conditional logit over the six signed axes, fitted to ModelNet10's train split (z-up: bathtub,
bed, chair, desk, monitor, night stand, sofa, table, toilet) and to 80 upright procedural shapes a
class (airplane, cap, car, chair, laptop, motorbike, mug, pistol, skateboard, table). Classes for
which held-out clouds did not clearly predict one axis are omitted: dresser, knife, lamp, rocket.
"""

import numpy as np
from numpy.typing import NDArray

# fmt: off
_ROWS: dict[str, tuple[float, ...]] = {  # ratio and 5 shares; 5 widths and 5 distances
    "airplane": (
        -1.5, 0.5, 0.4, -0.3, -0.3, -0.2,
        0.4, -0.1, 0.0, 0.5, 0.6, -0.5, -0.4, 0.1, 1.1, 1.4,
    ),
    "bathtub": (
        -2.7, 0.6, 0.4, 0.1, -0.2, -0.9,
        -0.9, -1.2, -0.6, 0.5, 1.6, -1.0, -0.4, -0.4, -0.3, 1.0,
    ),
    "bed": (
        -2.7, -0.1, 0.3, -0.1, -0.2, -0.5,
        1.4, 0.7, 0.3, -0.5, -1.1, -0.9, -0.3, 0.5, 1.0, 2.2,
    ),
    "cap": (
        -2.2, -0.1, 0.8, -0.2, -1.0, 0.3,
        1.1, -1.0, -0.5, 0.2, -0.9, 1.0, 0.1, 0.3, 0.7, 0.1,
    ),
    "car": (
        -1.4, -0.6, 0.2, 0.8, -0.0, -0.3,
        1.3, 1.2, 0.2, -1.2, -2.6, -0.1, -0.0, -0.2, 0.1, 0.6,
    ),
    "chair": (
        1.4, -2.9, -0.8, 2.9, -0.3, -0.8,
        2.8, -0.6, 0.3, 0.2, -1.6, -2.6, 0.5, -0.6, 2.5, 3.6,
    ),
    "desk": (
        -1.1, -2.6, -1.0, 0.0, -0.3, 2.8,
        2.6, 1.7, 1.3, 0.0, -1.6, -0.1, 0.1, -0.3, 0.4, -0.0,
    ),
    "laptop": (
        -1.0, 1.8, -0.1, -0.5, -0.6, -1.1,
        0.6, -0.1, -0.2, -0.5, -0.9, -0.5, 0.4, 0.8, 1.3, 1.4,
    ),
    "monitor": (
        0.4, 2.2, 0.4, -1.0, -0.1, -1.0,
        -2.8, 0.2, 0.4, 0.4, 4.5, -2.1, -0.7, -3.4, -0.3, -1.8,
    ),
    "motorbike": (
        -0.1, 0.1, 0.6, -0.3, 0.1, -0.3,
        2.3, 0.4, 0.7, -0.8, -1.2, -1.5, -1.3, -0.3, -0.4, 0.9,
    ),
    "mug": (
        -0.2, 1.0, 0.0, -0.3, 0.0, -0.6,
        -0.4, 0.1, -1.0, 0.1, 3.5, -0.9, -0.5, -1.3, -0.7, -0.3,
    ),
    "night_stand": (
        1.6, -3.0, -0.6, -0.2, 0.8, 1.8,
        1.2, 1.2, 1.1, 0.2, -0.4, -0.7, 0.1, -0.6, -1.1, -0.4,
    ),
    "pistol": (
        -0.4, -0.3, -0.7, -0.7, 0.7, 0.7,
        -0.3, -0.5, -1.7, 0.6, 0.6, 1.2, 1.7, 0.7, -0.4, -0.5,
    ),
    "skateboard": (
        -1.7, -0.7, -0.8, -0.2, 0.7, 0.4,
        0.8, 0.1, -0.1, 0.1, -0.1, -0.5, 0.1, 0.1, 0.5, 1.9,
    ),
    "sofa": (
        -4.8, 0.9, 1.4, 1.7, -1.0, -3.0,
        1.2, -0.3, -0.7, 1.6, -0.2, -3.6, -1.3, -0.4, 1.1, 3.0,
    ),
    "table": (
        -1.3, -3.0, -1.8, -2.0, -1.1, 4.9,
        0.5, -0.1, 0.5, -0.0, 0.5, -0.6, -0.3, -1.1, -0.1, -1.0,
    ),
    "toilet": (
        0.7, -0.4, -1.3, 0.3, -1.2, 1.6,
        -0.5, -1.9, 0.1, -1.0, 0.7, -2.0, -0.1, -1.8, 3.4, 3.0,
    ),
}
# fmt: on

WEIGHTS: dict[str, NDArray[np.float64]] = {name: np.array(row) for name, row in _ROWS.items()}
