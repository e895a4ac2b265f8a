"""The axis that points up: it differs between datasets; clouds are served y-up."""

import numpy as np
from numpy.typing import NDArray

# The rotation matrix (determinant +1) that turns each up axis into +y.
TO_Y_UP: dict[str, NDArray[np.float32]] = {
    "x": np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1]], dtype=np.float32),
    "y": np.eye(3, dtype=np.float32),
    "z": np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]], dtype=np.float32),
}
