"""A kernel over a range of clouds or rows, on torch's own threads."""

import ctypes
import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


def in_parallel(kernel: Callable[..., Any], count: int, *args: Any) -> None:
    """``kernel(start, stop, *args)`` for ranges that make up 0 to ``count``.

    The kernel must let go of the interpreter's lock, and write nothing that two ranges share. A
    single thread, as in a loader's worker, calls it directly.

    Several are those of the OpenMP team that torch's operations run on, started by the same call
    that a compiler makes of ``#pragma omp parallel``. Threads of our own would have to share the
    cores with that team, which after each operation waits for the next one at full speed.
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
        except BaseException as error:  # an exception can't leave a thread of OpenMP
            errors.append(error)

    openmp.GOMP_parallel(_CALLBACK(work), None, ctypes.c_uint(threads), ctypes.c_uint(0))
    if errors:
        raise errors[0]


_PROCESS = os.getpid()  # a forked one has none of the team's threads
_CALLBACK = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


@functools.cache
def _openmp() -> ctypes.CDLL | None:
    """The OpenMP library that torch has loaded; None where it is not found or not OpenMP (macOS and
    Windows among them), and kernels run on one thread."""
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
