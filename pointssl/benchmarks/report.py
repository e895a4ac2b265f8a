"""Text tables of the measurements, and a description of the machine."""

import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from pointssl.benchmarks.floor import Rates
from pointssl.ops.backends import backend_for
from pointssl.reports.tables import remarks, text_table

HEADER = (
    "case", "textbook", "ours", "ratio", "spread", "by CPU time", "memory ratio", "share of floor",
    "goal",
)  # fmt: skip


def environment(device: torch.device, rates: Rates | None) -> dict[str, Any]:
    """Describe the machine, its software, and the peak rates it reached."""
    description: dict[str, Any] = {
        "torch": str(torch.__version__),
        "python": platform.python_version(),
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "device": device.type,
        "kernels": backend_for(torch.empty(1, device=device)),
    }
    if rates is not None:
        description |= {"matrix_rate": rates.matrix, "copy_rate": rates.copy}
    return description


def cpu_name() -> str:
    """Return the processor's model name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names and names[0] else platform.processor() or platform.machine()


def describe(device: torch.device) -> str:
    """Describe hardware and software in half a line."""
    machine = environment(device, None)
    threads = f"{machine['threads']} thread{'s' if machine['threads'] > 1 else ''}"
    hardware = machine["gpu"] or f"{machine['cpu']}, {threads}"
    return f"torch {machine['torch']}, {hardware}, {machine['kernels']} kernels, float32"


def rates_line(rates: Rates) -> str:
    """Format the peak rates that the floors are computed from."""
    matrix = ", ".join(f"{rate / 1e9:,.0f} GFLOP/s {name}" for name, rate in rates.matrix.items())
    return f"peak rates: {matrix}; copies {rates.copy / 1e9:.1f} GB/s"


def table(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Format a line for each row, then the legend, then remarks on single rows."""
    lines = text_table(HEADER, [_cells(row) for row in rows])
    notes = []
    for row in rows:
        if "error" in row:
            notes.append(f"{row['case']}: {row['error']}")
        if "same_predictions" in row:
            notes.append(f"{row['case']}: {100 * row['same_predictions']:.2f}% of the predictions "
                         "are the same")  # fmt: skip
    return [*lines, "", *LEGEND, *remarks(notes)]


LEGEND = (
    "Times and ratios are medians over alternating rounds; the spread is the ratios' quartiles.",
    "Memory is the peak that one call adds, ours over the textbook's. The floor is the time that",
    "the same work would take at the peak rates.",
)


def _cells(row: dict[str, Any]) -> list[str]:
    if "ratio" not in row:
        return [row["case"], *["-"] * (len(HEADER) - 2), "failed" if "error" in row else "-"]
    low, high = row["ratio_quartiles"]
    memory = row.get("memory_ratio")
    return [
        row["case"],
        *(in_seconds(row["seconds"][side]) for side in ("textbook", "ours")),
        f"{row['ratio']:.1f}x",
        f"{low:.1f}-{high:.1f}",
        "-" if row["cpu_ratio"] is None else f"{row['cpu_ratio']:.1f}x",
        "-" if memory is None else f"{memory:.2f}",
        f"{100 * row['share']:.{0 if row['share'] >= 0.1 else 1}f}%",
        goal_cell(row),
    ]


def in_seconds(seconds: float) -> str:
    """Format seconds as ``"1.23 s"`` or ``"45.6 ms"``."""
    return f"{seconds:.2f} s" if seconds >= 1 else f"{1000 * seconds:.3g} ms"


def goal_cell(row: dict[str, Any]) -> str:
    """Format the goals of a row, and whether they are met."""
    parts = []
    if row["goal"] is not None:
        parts.append(f"{row['goal']:g}x {'met' if row['ratio'] >= row['goal'] else 'missed'}")
    if row["memory_goal"] is not None and row.get("memory_ratio") is not None:
        met = row["memory_ratio"] <= row["memory_goal"]
        parts.append(f"memory {row['memory_goal']:g} {'met' if met else 'missed'}")
    if "data_wait" in row:
        share, goal = row["data_wait"]["ours"], row["data_wait_goal"]
        verdict = "met" if share < goal else "missed"
        parts.append(f"waits {100 * share:.2g}% (under {100 * goal:g}% {verdict})")
    return ", ".join(parts) or "-"
