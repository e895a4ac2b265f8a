"""Random choices of points and rotations, reproducible from a few integers."""

import numpy as np
from numpy.typing import NDArray

# Each use of randomness has its own stream, so that e.g. the view does not depend on the points.
POINTS, VIEW, TURN, MIX = 0, 1, 2, 3


def generator(use: int, seed: int, epoch: int, index: int) -> np.random.Generator:
    """The generator of (use, seed, epoch, index); all are independent."""
    return np.random.default_rng([use, seed, epoch, index])


def choose_random(stored: int, points: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """``points`` indices without replacement; if too few are stored, all, then random repeats."""
    if points <= stored:
        return rng.choice(stored, points, replace=False)
    return np.concatenate([rng.permutation(stored), rng.integers(stored, size=points - stored)])


def repeat_to(order: NDArray[np.int64], points: int) -> NDArray[np.int64]:
    """The first ``points`` of ``order``, which is repeated if it is shorter."""
    return np.resize(order, points)


def rotation(turn: str, rng: np.random.Generator) -> NDArray[np.float32]:
    """A random rotation ``(3, 3)``: about the y axis (``"up"``), or uniform over SO(3) (``"so3"``).

    The latter from a normalised Gaussian quaternion (Shoemake, Graphics Gems III, 1992).
    """
    if turn == "up":
        angle = rng.uniform(0, 2 * np.pi)
        w, x, y, z = np.cos(angle / 2), 0.0, np.sin(angle / 2), 0.0
    else:
        quaternion = rng.normal(size=4)
        w, x, y, z = quaternion / np.linalg.norm(quaternion)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ],
        dtype=np.float32,
    )
