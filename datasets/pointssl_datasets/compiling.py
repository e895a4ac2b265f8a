"""Machine code for hot loops where numba is at hand; the plain twin of a loop serves elsewhere."""

from collections.abc import Callable
from typing import Any


def compiled(loop: Callable[..., Any]) -> Callable[..., Any] | None:
    """``loop`` in machine code, kept on disk between runs; None without numba.

    numba is imported here, not before: commands that need no hot loop start without it.
    """
    try:
        from numba import njit
    except ImportError:
        return None
    try:
        return njit(cache=True)(loop)  # type: ignore[no-any-return]
    except RuntimeError:  # no folder where numba may keep what it compiled
        return njit(loop)  # type: ignore[no-any-return]
