"""Coordinates far from their origin (UTM: millions of metres) keep their precision in float32."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

_FAR = 64  # times the cloud's own size


def far_origin(lowest: NDArray[np.float64], highest: NDArray[np.float64]) -> NDArray[np.float64]:
    """What to subtract from a cloud with these corners ``(3,)``: zeros, unless it is far away.

    Far means that a coordinate exceeds 64 times the cloud's largest extent: float32 has 24 bits,
    and would leave fewer than 18 of them for the shape. Then it is the lowest corner, rounded down
    to whole units.
    """
    away = max(np.abs(lowest).max(), np.abs(highest).max())
    with np.errstate(over="ignore", invalid="ignore"):
        far = np.isfinite(away) and away > _FAR * (highest - lowest).max()
    return np.floor(lowest) if far else np.zeros(3)


def near_origin(xyz: NDArray[Any]) -> NDArray[Any]:
    """``(N, 3)`` without its :func:`far_origin`; float32 and less have nothing to lose."""
    if xyz.dtype.kind not in "fiu" or not len(xyz) or xyz.dtype in (np.float32, np.float16):
        return xyz
    wide = xyz.astype(np.float64, copy=False)
    origin = far_origin(wide.min(axis=0), wide.max(axis=0))
    return wide - origin if origin.any() else xyz
