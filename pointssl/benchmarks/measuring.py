"""Measure a case: one row of the table, as plain numbers."""

import math
import statistics
import traceback
from typing import Any

import torch

from pointssl.benchmarks import backbones, kernels, loading, steps, svm
from pointssl.benchmarks.case import SIDES, Case, check_equal
from pointssl.benchmarks.floor import Rates, floor_seconds
from pointssl.benchmarks.memory import case_memory, is_out_of_memory, measured_afresh
from pointssl.benchmarks.timing import interleaved, ratios
from pointssl.config.tools import SECTIONS

MODULES = dict(zip(SECTIONS, (kernels, backbones, steps, loading, svm), strict=True))


def all_cases(sections: tuple[str, ...], level: str, device: torch.device) -> list[Case]:
    """Return the cases of the given sections, in the order of the table."""
    gpu = device.type == "cuda"
    return [
        case for name in SECTIONS if name in sections for case in MODULES[name].cases(level, gpu)
    ]


def measure(case: Case, device: torch.device, rates: Rates, seconds: float) -> dict[str, Any]:
    """Measure one row.

    Args:
        seconds: approximate duration of the alternating calls of both sides.

    Returns:
        ``section``, ``case``, ``goal`` and ``memory_goal``; ``seconds`` and ``spread`` (the
        interquartile range) by side; ``ratio`` and its quartiles; ``cpu_ratio``; ``memory`` in MB
        and ``memory_ratio``; ``floor`` in seconds and ``share``, the floor over our time;
        ``rounds``. If the case failed, ``error`` and ``traceback``.
    """
    row: dict[str, Any] = {
        "section": case.section,
        "case": case.name,
        "goal": case.goals.get(device.type),
        "memory_goal": case.memory_goal,
    }
    try:
        check_equal(case, device)
        work = case.work(case.sizes)
        row |= {"operations": work.operations, "bytes": work.bytes}
        row |= _timed(case, device, floor_seconds(work, rates), seconds)
        if case.measures_memory:
            memory = {side: measured_afresh(case_memory, device, case, side) for side in SIDES}
            row["memory"] = {side: _known(value) for side, value in memory.items()}
            if memory["textbook"] > 0:
                row["memory_ratio"] = _known(memory["ours"] / memory["textbook"])
    except Exception as error:  # continue with the other cases
        row["error"] = error_line(error)
        row["traceback"] = traceback.format_exc()
    return row


def error_line(error: Exception) -> str:
    """Describe an error in one line."""
    if is_out_of_memory(error):
        return "out of memory"
    text = " ".join(str(error).split())
    return text if isinstance(error, AssertionError) else f"{type(error).__name__}: {text}"[:200]


def _timed(case: Case, device: torch.device, floor: float, seconds: float) -> dict[str, Any]:
    sides = {side: case.make(side, case.sizes, device, torch.float32) for side in SIDES}
    times = interleaved(sides, device, seconds)
    middle, low, high = ratios(times.wall)
    medians = {side: statistics.median(times.wall[side]) for side in SIDES}
    row = {
        "rounds": len(times.wall["ours"]),
        "seconds": medians,
        "spread": {side: _between_quartiles(times.wall[side]) for side in SIDES},
        "ratio": middle,
        "ratio_quartiles": [low, high],
        "cpu_ratio": None if device.type == "cuda" else ratios(times.cpu)[0],
        "floor": floor,
        "share": floor / medians["ours"],
    }
    if case.section == "loading":
        row["data_wait"] = {side: times.last[side][0] for side in SIDES}
        row["data_wait_goal"] = loading.WAIT_GOAL
    if case.section == "svm":
        textbook, ours = (times.last[side] for side in SIDES)
        row["same_predictions"] = float((textbook == ours).mean())
    return row


def _between_quartiles(values: list[float]) -> float:
    if len(values) < 2:
        return 0.0
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return high - low


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
