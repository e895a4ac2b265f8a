"""Scaling of throughput and memory with points, clouds and processes, one at a time."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from pointssl.benchmarks.case import SIDES
from pointssl.ops.backends import chosen_backend
from pointssl.reports.tables import text_table

CELL = "pointssl.benchmarks.scale_cell"
AXES: dict[str, tuple[int, ...]] = {
    "points": (512, 1024, 2048, 4096, 8192, 16384),
    "clouds": (1, 4, 16, 64),
    "processes": (1, 2, 4),
}
QUICK: dict[str, tuple[int, ...]] = {"points": (256, 1024), "clouds": (2, 4), "processes": (1, 2)}
BASE = {"points": 1024, "clouds": 4, "processes": 1}
GIB = 2**30


class Limits(NamedTuple):
    """Limits of a cell: bytes of all its processes, and seconds from start to end."""

    memory: int
    seconds: float


def grow(
    axes: Mapping[str, Sequence[int]],
    run: Callable[[str, Mapping[str, int]], dict[str, Any]],
    say: Callable[[str], None],
) -> list[dict[str, Any]]:
    """Run the cells of every axis from small to large; a cell on two axes runs once.

    After a cell has exceeded a limit, larger ones are skipped; their rows say so.

    Args:
        run: measures a cell on one side.
        say: prints a line about each cell that is run.
    """
    rows: list[dict[str, Any]] = []
    known: dict[tuple[Any, ...], dict[str, Any]] = {}
    for axis, values in axes.items():
        for side in SIDES:
            beyond = ""
            for value in values:
                cell = {**BASE, axis: value}
                key = (side, *cell.values())
                if beyond:
                    result: dict[str, Any] = {"outcome": f"not tried: {beyond} before"}
                elif key in known:
                    result = known[key]
                else:
                    say(f"{side}: " + ", ".join(f"{name} {n}" for name, n in cell.items()))
                    result = known[key] = run(side, cell)
                if "outcome" in result and not beyond:
                    beyond = result["outcome"]
                rows.append({"axis": axis, "side": side, **cell, **result})
    return rows


def run_cell(
    side: str, cell: Mapping[str, int], device: torch.device, threads: int, limits: Limits
) -> dict[str, Any]:
    """Measure ``clouds_per_second`` and ``memory`` in MB, or return an ``outcome`` that says why
    not.

    The ``threads`` are divided among the processes.
    """
    processes = cell["processes"]
    command = [sys.executable, "-m"]
    if processes > 1:
        command += [
            "torch.distributed.run",
            "--standalone",
            "--nproc-per-node",
            str(processes),
            "-m",
        ]
    command += [
        CELL, side, str(cell["clouds"]), str(cell["points"]), str(limits.memory // processes),
        device.type, str(max(1, threads // processes)), chosen_backend(),
    ]  # fmt: skip
    # A new session, so that exactly its processes can be killed together.
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": str(max(1, threads // processes))},
    )  # fmt: skip
    try:
        output, errors = process.communicate(timeout=limits.seconds)
    except subprocess.TimeoutExpired:
        return {"outcome": "too slow"}
    finally:
        if process.poll() is None:
            _kill(process)
    results = [line for line in output.splitlines() if line.startswith("{")]
    if results:
        return dict(json.loads(results[-1]))
    if process.returncode < 0 or "MemoryError" in errors or "memory" in errors.lower():
        return {"outcome": "out of memory"}
    last = (errors.strip().splitlines() or [f"exit code {process.returncode}"])[-1]
    return {"outcome": f"failed: {last[:120]}"}


def _kill(process: subprocess.Popen[str]) -> None:
    """Kill a process and those that it started."""
    with contextlib.suppress(ProcessLookupError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:  # Windows
            process.kill()
    process.communicate()


def free_memory(device: torch.device) -> int:
    """Return the bytes of free memory."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    with contextlib.suppress(OSError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return 8 * GIB  # a guess for systems without /proc/meminfo


def scale_table(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Format a line for each cell with both sides, axis by axis."""
    header = (
        "grows", "points", "clouds", "processes", "textbook, clouds/s", "ours", "ratio",
        "textbook, MB", "ours, MB",
    )  # fmt: skip
    lines, notes = [], []
    for row in rows:
        if row["side"] != "textbook":
            continue
        place = {key: row[key] for key in ("axis", *BASE)}
        ours = next(r for r in rows if r["side"] == "ours" and place.items() <= r.items())
        theirs, our = (r.get("clouds_per_second") for r in (row, ours))
        ratio = f"{our / theirs:.1f}x" if our and theirs else "-"
        lines.append(
            [str(value) for value in place.values()]
            + ["-" if speed is None else f"{speed:.2f}" for speed in (theirs, our)]
            + [ratio, *(f"{r['memory']:.0f}" if "memory" in r else "-" for r in (row, ours))]
        )
        notes += [
            f"{r['side']}, " + ", ".join(f"{key} {r[key]}" for key in BASE) + f": {r['outcome']}"
            for r in (row, ours)
            if "outcome" in r and not r["outcome"].startswith("not tried")
        ]
    return [*text_table(header, lines), "", *(f"- {note}" for note in dict.fromkeys(notes))]
