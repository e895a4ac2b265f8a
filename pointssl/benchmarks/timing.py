"""Alternating timing of two sides in one process, so that other load affects both alike."""

import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from pointssl.benchmarks.case import Run

LEAST, MOST = 3, 21  # rounds


@dataclass(frozen=True)
class Times:
    """Seconds of every round, by side.

    Attributes:
        wall: wall-clock time.
        cpu: CPU time, summed over all threads of this process.
        last: output of each side's last call.
    """

    wall: dict[str, list[float]]
    cpu: dict[str, list[float]]
    last: dict[str, Any]


def interleaved(
    sides: Mapping[str, Run], device: torch.device, seconds: float, least: int = LEAST
) -> Times:
    """Call the sides alternately for about this many seconds, but at least ``least`` rounds.

    The first call of each side warms up; every second round has the reverse order.
    """
    wall: dict[str, list[float]] = {side: [] for side in sides}
    cpu: dict[str, list[float]] = {side: [] for side in sides}
    last: dict[str, Any] = {}
    for run in sides.values():
        run()
    wait(device)
    order, began = list(sides), time.perf_counter()
    for number in range(MOST):
        if number >= least and time.perf_counter() - began > seconds:
            break
        for side in order:
            clock, processor = time.perf_counter(), time.process_time()
            last[side] = sides[side]()
            wait(device)
            wall[side].append(time.perf_counter() - clock)
            cpu[side].append(time.process_time() - processor)
        order.reverse()
    return Times(wall, cpu, last)


def wait(device: torch.device) -> None:
    """Wait until the GPU is done, if there is one."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def median_seconds(run: Run, repeats: int, device: torch.device) -> float:
    """Measure the median seconds of a call; the first one warms up."""
    times = interleaved({"ours": run}, device, 0.0, least=repeats)
    return statistics.median(times.wall["ours"])


def ratios(times: Mapping[str, list[float]]) -> tuple[float, float, float]:
    """Return how many times faster ours is: median over the rounds, lower and upper quartile."""
    speedups = [a / b for a, b in zip(times["textbook"], times["ours"], strict=True)]
    if len(speedups) < 2:
        return speedups[0], speedups[0], speedups[0]
    low, middle, high = statistics.quantiles(speedups, n=4, method="inclusive")
    return middle, low, high
