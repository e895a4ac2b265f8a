"""A kernel over a range of clouds or rows, on as many threads as torch uses."""

import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch

_pools: dict[tuple[int, int], ThreadPoolExecutor] = {}


def in_parallel(kernel: Callable[..., Any], count: int, *args: Any) -> None:
    """``kernel(start, stop, *args)`` for ranges that make up 0 to ``count``.

    The kernel must let go of the interpreter's lock, and write nothing that two ranges share. A
    single thread, as in a loader's worker, calls it directly. Plain threads, not numba's own: those
    do not survive a fork, and would not follow torch's number.
    """
    threads = min(torch.get_num_threads(), count)
    if threads <= 1:
        kernel(0, count, *args)
        return
    bounds = [count * part // threads for part in range(threads + 1)]
    others = [
        _pool(threads - 1).submit(kernel, start, stop, *args)
        for start, stop in itertools.pairwise(bounds[1:])
    ]
    kernel(bounds[0], bounds[1], *args)  # this thread works, too
    for other in others:
        other.result()


def _pool(threads: int) -> ThreadPoolExecutor:
    """The threads of this process: a fork takes over the pool's object, but none of its threads."""
    key = (os.getpid(), threads)
    if key not in _pools:
        _pools[key] = ThreadPoolExecutor(threads, thread_name_prefix="pointssl")
    return _pools[key]
