"""Coordinates far from the origin (UTM: millions of metres) are shifted to fit in float32."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

_FAR = 64  # times the cloud's own size


def far_origin(lowest: NDArray[np.float64], highest: NDArray[np.float64]) -> NDArray[np.float64]:
    """The shift to subtract from a cloud with these corners ``(3,)``; zeros unless it is far away.

    A cloud is far away if a coordinate exceeds 64 times its largest extent: float32 has 24 bits,
    and fewer than 18 would be left for the shape. The shift is then the lowest corner, rounded down
    to whole units.
    """
    away = max(np.abs(lowest).max(), np.abs(highest).max())
    with np.errstate(over="ignore", invalid="ignore"):
        far = np.isfinite(away) and away > _FAR * (highest - lowest).max()
    return np.floor(lowest) if far else np.zeros(3)


def near_origin(xyz: NDArray[Any]) -> NDArray[Any]:
    """``(N, 3)`` minus its :func:`far_origin`; float32 has no precision left to save."""
    if xyz.dtype.kind not in "fiu" or not len(xyz) or xyz.dtype in (np.float32, np.float16):
        return xyz
    wide = xyz.astype(np.float64, copy=False)
    origin = far_origin(wide.min(axis=0), wide.max(axis=0))
    return wide - origin if origin.any() else xyz
