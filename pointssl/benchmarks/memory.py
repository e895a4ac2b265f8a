"""Peak memory that a call adds to its process."""

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
    """Measure the peak bytes that a call adds; on a CPU, only in a fresh process."""
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
    """Measure the peak bytes that one call of a side adds; for :func:`measured_afresh`."""
    # The first call also sets up things once, such as compiled kernels; don't count these.
    case.make(side, case.small, device, torch.float32)()
    return added_memory(case.make(side, case.sizes, device, torch.float32), device)


def measured_afresh(
    measure: Callable[..., int], device: torch.device, *arguments: Any, patience: float = PATIENCE
) -> float:
    """Run ``measure(*arguments, device)`` in a fresh process, and return the result in MB.

    GPU memory is counted exactly, so it is measured in this process. The result is NaN if it is
    unknown: no ``/proc``, out of memory, or not finished within ``patience`` seconds.
    """
    if device.type == "cuda":
        torch.cuda.empty_cache()
        return measure(*arguments, device) / 1e6
    if not STATUS.exists():
        return float("nan")
    # The server has imported everything and computed nothing, so its forks count as fresh.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    here, there = context.Pipe(duplex=False)
    settings = (torch.get_num_threads(), chosen_backend())
    arguments = (there, settings, measure, (*arguments, device))
    process = context.Process(target=_answer, args=arguments, daemon=True)
    process.start()
    there.close()
    result = float("nan")
    with here, contextlib.suppress(EOFError):  # it was killed for want of memory
        if here.poll(patience):
            result = here.recv()
        else:
            process.kill()
    process.join()
    return result


def _answer(
    pipe: Connection,
    settings: tuple[int, str],
    measure: Callable[..., int],
    arguments: tuple[Any, ...],
) -> None:
    """Measure with these threads and kernels in the fresh process, and send the MB."""
    torch.set_num_threads(settings[0])
    set_backend(settings[1])
    keep_freed_memory()
    result = float("nan")
    try:
        result = measure(*arguments) / 1e6
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
    pipe.send(result)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that an allocation failed."""
    text = str(error)
    return isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)) or (
        "can't allocate memory" in text or "out of memory" in text
    )
