"""Run a kernel over a range of clouds or rows, on torch's own threads."""

import ctypes
import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


def in_parallel(kernel: Callable[..., Any], count: int, *args: Any) -> None:
    """Call ``kernel(start, stop, *args)`` for ranges that partition 0 to ``count``.

    The kernel must release the GIL, and two ranges must not write to the same memory. With a single
    thread, as in a loader's worker, it is called directly.

    The threads are the OpenMP team of torch's operations, started by the call that compilers emit
    for ``#pragma omp parallel``. Threads of our own would compete for the cores with that team,
    which busy-waits for some time after each operation.
    """
    threads = min(torch.get_num_threads(), count)
    openmp = _openmp() if threads > 1 and os.getpid() == _PROCESS else None
    if openmp is None:
        kernel(0, count, *args)
        return
    errors: list[BaseException] = []

    def work(_: object) -> None:
        number, team = openmp.omp_get_thread_num(), openmp.omp_get_num_threads()
        try:
            kernel(count * number // team, count * (number + 1) // team, *args)
        except BaseException as error:  # an exception must not leave an OpenMP thread
            errors.append(error)

    openmp.GOMP_parallel(_CALLBACK(work), None, ctypes.c_uint(threads), ctypes.c_uint(0))
    if errors:
        raise errors[0]


_PROCESS = os.getpid()  # a forked process lacks the team's threads
_CALLBACK = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


@functools.cache
def _openmp() -> ctypes.CDLL | None:
    """Return the OpenMP library that torch has loaded.

    None if there is none, as on macOS and Windows; kernels then run on one thread.
    """
    maps = Path("/proc/self/maps")
    if "OpenMP" not in torch.__config__.parallel_info() or not maps.exists():
        return None
    loaded = {line.split()[-1] for line in maps.read_text().splitlines() if "omp" in line}
    beside_torch = str(Path(torch.__file__).parent)  # torch/lib, or torch.libs beside it
    for path in sorted(loaded):
        if path.startswith(beside_torch):
            library = ctypes.CDLL(path)
            if hasattr(library, "GOMP_parallel"):
                return library
    return None
