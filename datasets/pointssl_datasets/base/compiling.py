"""Hot loops compiled to machine code by numba, which is imported when the first one is needed."""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """``function`` compiled; it runs without the interpreter's lock.

    The machine code is cached on disk where there is a folder for it.
    """
    from numba import njit

    uncached: Callable[P, R] = njit(nogil=True)(function)
    try:
        cached: Callable[P, R] = njit(nogil=True, cache=True)(function)
    except RuntimeError:  # numba found no folder that it may write to
        return uncached

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return cached(*args, **kwargs)
        except OSError:  # the disk is full, or the folder was removed
            return uncached(*args, **kwargs)

    return call


def inner(function: Callable[P, R]) -> Callable[P, R]:
    """Allows functions under :func:`compiled` to call ``function``, which stays plain Python."""
    from numba.extending import register_jitable

    jitable: Callable[P, R] = register_jitable(function)
    return jitable
