"""Machine code for hot loops, by numba, which is imported only where a loop is about to be run."""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """``function`` in machine code, kept on disk if that is possible, and without the
    interpreter's lock.

    Raises:
        ImportError: numba is missing; every caller has a twin in numpy for that case.
    """
    from numba import njit

    plain: Callable[P, R] = njit(nogil=True)(function)
    try:
        kept: Callable[P, R] = njit(nogil=True, cache=True)(function)
    except RuntimeError:  # numba found no folder that it may write to
        return plain

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return kept(*args, **kwargs)
        except OSError:  # the folder is full, or was taken away
            return plain(*args, **kwargs)

    return call


def inner(function: Callable[P, R]) -> Callable[P, R]:
    """``function`` as a part of those that :func:`compiled` takes; it stays plain Python, too.

    Raises:
        ImportError: numba is missing.
    """
    from numba.extending import register_jitable

    part: Callable[P, R] = register_jitable(function)
    return part
