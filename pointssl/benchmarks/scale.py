"""How throughput and memory grow with points, clouds and processes: one of them at a time."""

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
    """What a cell may take: bytes of all its processes, and seconds from start to end."""

    memory: int
    seconds: float


def grow(
    axes: Mapping[str, Sequence[int]],
    run: Callable[[str, Mapping[str, int]], dict[str, Any]],
    say: Callable[[str], None],
) -> list[dict[str, Any]]:
    """The cells of every axis from small to large; each cell that lies on two axes is run once.

    What was too much for a limit is not tried larger: those cells say so.

    Args:
        run: side and cell to what was found.
        say: takes a line about each cell that is run.
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
                    found: dict[str, Any] = {"outcome": f"not tried: {beyond} before"}
                elif key in known:
                    found = known[key]
                else:
                    say(f"{side}: " + ", ".join(f"{name} {n}" for name, n in cell.items()))
                    found = known[key] = run(side, cell)
                if "outcome" in found and not beyond:
                    beyond = found["outcome"]
                rows.append({"axis": axis, "side": side, **cell, **found})
    return rows


def run_cell(
    side: str, cell: Mapping[str, int], device: torch.device, threads: int, limits: Limits
) -> dict[str, Any]:
    """``clouds_per_second`` and ``memory`` in MB, or an ``outcome``: why there are none.

    ``threads`` are shared out among the processes.
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
    # A session of its own, so that all of its processes can be ended together, and no others.
    started = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": str(max(1, threads // processes))},
    )  # fmt: skip
    try:
        answer, complaint = started.communicate(timeout=limits.seconds)
    except subprocess.TimeoutExpired:
        return {"outcome": "too slow"}
    finally:
        if started.poll() is None:
            _end(started)
    found = [line for line in answer.splitlines() if line.startswith("{")]
    if found:
        return dict(json.loads(found[-1]))
    if started.returncode < 0 or "MemoryError" in complaint or "memory" in complaint.lower():
        return {"outcome": "out of memory"}
    last = (complaint.strip().splitlines() or [f"exit code {started.returncode}"])[-1]
    return {"outcome": f"failed: {last[:120]}"}


def _end(started: subprocess.Popen[str]) -> None:
    """A process and those that it started."""
    with contextlib.suppress(ProcessLookupError):
        if hasattr(os, "killpg"):
            os.killpg(started.pid, signal.SIGKILL)
        else:  # Windows
            started.kill()
    started.communicate()


def free_memory(device: torch.device) -> int:
    """Bytes that nobody uses."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    with contextlib.suppress(OSError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return 8 * GIB  # a guess where the system does not tell


def scale_table(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Both sides of each cell in a line, axis after axis."""
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
