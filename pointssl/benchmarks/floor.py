"""Lower bounds on run times: a case's work, done at the machine's peak rates."""

import math
import time
from dataclasses import dataclass

import torch

from pointssl.benchmarks.case import Run, Work
from pointssl.benchmarks.timing import wait
from pointssl.ops.backends import using

TYPES = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Rates:
    """Peak rates that the machine reached.

    Attributes:
        matrix: operations per second of a large matrix product, by dtype.
        copy: bytes per second, read plus written, of a large copy.
    """

    matrix: dict[str, float]
    copy: float


def measure_rates(device: torch.device, *, side: int = 0, megabytes: int = 0) -> Rates:
    """Measure matrix products of ``side`` rows and columns, and copies of this many MB.

    By default both are large enough to use the whole device.
    """
    on_gpu = device.type == "cuda"
    side = side or (8192 if on_gpu else 2048)
    matrix = {}
    for name, dtype in TYPES.items():
        if name == "bfloat16" and not on_gpu:
            continue
        a = torch.randn(side, side, device=device).to(dtype)
        out = torch.empty_like(a)
        seconds = best_seconds(lambda a=a, out=out: torch.mm(a, a, out=out), device)  # type: ignore[misc]
        matrix[name] = 2 * side**3 / seconds
    source = torch.ones((megabytes or (1024 if on_gpu else 256)) << 20, dtype=torch.uint8).to(
        device
    )
    target = torch.empty_like(source)
    copy = 2 * source.numel() / best_seconds(lambda: target.copy_(source), device)
    return Rates(matrix, copy)


def best_seconds(run: Run, device: torch.device, repeats: int = 7) -> float:
    """Return the seconds of the fastest of several calls, the one least disturbed by other load."""
    best = math.inf
    for _ in range(repeats + 1):
        start = time.perf_counter()
        run()
        wait(device)
        best = min(best, time.perf_counter() - start)
    return best


def floor_seconds(work: Work, rates: Rates) -> float:
    """Return the larger of operations over the matrix rate and bytes over the copy rate."""
    return max(work.operations / rates.matrix[work.dtype], work.bytes / rates.copy)


def count_operations(run: Run) -> float:
    """Count the operations of a call's matrix products and convolutions, in plain torch."""
    from torch.utils.flop_counter import FlopCounterMode

    with using("torch"), FlopCounterMode(display=False) as counter:
        run()
    return float(counter.get_total_flops())
