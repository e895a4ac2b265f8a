"""What a call adds to the memory of its process, at its peak."""

import contextlib
import gc
import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import torch

from pointssl.benchmarks.case import Case, Run
from pointssl.engine.memory import STATUS, keep_freed_memory, process_memory
from pointssl.ops.backends import chosen_backend, set_backend

PATIENCE = 600.0  # seconds for one measurement


def added_memory(run: Run, device: torch.device) -> int:
    """Peak bytes of a call above those before it; on a CPU in a fresh process only."""
    if device.type == "cuda":
        gc.collect()
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        kept = run()
        torch.cuda.synchronize(device)
        del kept
        return torch.cuda.max_memory_allocated(device) - before
    before = process_memory("VmRSS")
    run()
    return max(0, process_memory("VmHWM") - before)


def case_memory(case: Case, side: str, device: torch.device) -> int:
    """Peak bytes that one call of a side adds; for a fresh process, as :func:`measured_afresh`."""
    # What a first call sets up once, compiled kernels among it, is not a call's memory.
    case.make(side, case.small, device, torch.float32)()
    return added_memory(case.make(side, case.sizes, device, torch.float32), device)


def measured_afresh(
    measure: Callable[..., int], device: torch.device, *arguments: Any, patience: float = PATIENCE
) -> float:
    """What ``measure(*arguments, device)`` gives in a process that did nothing before, in MB.

    A GPU counts exactly what is asked of it, so there it is measured here. NaN where it cannot be
    told: no ``/proc``, too little memory, or not within ``patience`` seconds.
    """
    if device.type == "cuda":
        torch.cuda.empty_cache()
        return measure(*arguments, device) / 1e6
    if not STATUS.exists():
        return float("nan")
    # A server that has imported everything and computed nothing, whose forks are as good as new.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    here, there = context.Pipe(duplex=False)
    settings = (torch.get_num_threads(), chosen_backend())
    arguments = (there, settings, measure, (*arguments, device))
    process = context.Process(target=_answer, args=arguments, daemon=True)
    process.start()
    there.close()
    found = float("nan")
    with here, contextlib.suppress(EOFError):  # it was killed for want of memory
        if here.poll(patience):
            found = here.recv()
        else:
            process.kill()
    process.join()
    return found


def _answer(
    pipe: Connection,
    settings: tuple[int, str],
    measure: Callable[..., int],
    arguments: tuple[Any, ...],
) -> None:
    """In the fresh process: measure with so many threads and those kernels, and send MB."""
    torch.set_num_threads(settings[0])
    set_backend(settings[1])
    keep_freed_memory()
    found = float("nan")
    try:
        found = measure(*arguments) / 1e6
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
    pipe.send(found)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether it says that memory was refused."""
    text = str(error)
    return isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)) or (
        "can't allocate memory" in text or "out of memory" in text
    )
