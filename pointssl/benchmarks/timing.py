"""Two sides of a comparison, in turn in one process: what else the machine does hits both."""

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
        wall: by the clock.
        cpu: of the processor, all threads of this process together.
        last: what the last call of each side gave.
    """

    wall: dict[str, list[float]]
    cpu: dict[str, list[float]]
    last: dict[str, Any]


def interleaved(
    sides: Mapping[str, Run], device: torch.device, seconds: float, least: int = LEAST
) -> Times:
    """Call each side in turn for about so many seconds, but at least ``least`` rounds.

    The first call of each warms up; every other round goes the other way round.
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
    """Until a GPU has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def median_seconds(run: Run, repeats: int, device: torch.device) -> float:
    """Median seconds of a call; the first one warms up."""
    times = interleaved({"ours": run}, device, 0.0, least=repeats)
    return statistics.median(times.wall["ours"])


def ratios(times: Mapping[str, list[float]]) -> tuple[float, float, float]:
    """How many times faster ours is: the median over the rounds, and the quartiles."""
    found = [a / b for a, b in zip(times["textbook"], times["ours"], strict=True)]
    if len(found) < 2:
        return found[0], found[0], found[0]
    low, middle, high = statistics.quantiles(found, n=4, method="inclusive")
    return middle, low, high
