"""`pointssl bench --scale`: what a training step costs as its size grows."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch

from pointssl.benchmarks import report, scale
from pointssl.benchmarks.scale_cell import NETWORK
from pointssl.config.tools import BenchConfig
from pointssl.engine.distributed import World
from pointssl.reports.figures.scaling import scale_figure
from pointssl.runs.folder import RunFolder
from pointssl_datasets.base.writing import write_text


def measure_scale(config: BenchConfig, world: World) -> dict[str, Any]:
    """Every cell in processes of its own; table, JSON and picture into ``config.out``."""
    device = world.device
    axes = dict(scale.QUICK if config.quick else scale.AXES)
    if device.type == "cuda":  # NCCL wants a GPU for each process
        gpus = torch.cuda.device_count()
        axes["processes"] = tuple(n for n in axes["processes"] if n <= gpus)
    free = scale.free_memory(device)
    memory = free // 2 if config.cell_memory is None else int(config.cell_memory * scale.GIB)
    limits = scale.Limits(memory, config.cell_time)
    base = ", ".join(f"{name} {count}" for name, count in scale.BASE.items())
    what = f"training steps of {NETWORK}, {report.describe(device)}"
    bounds = (
        f"{base} but for what grows; clouds are a process's; a cell may take "
        f"{memory / scale.GIB:.1f} GiB and {config.cell_time:g} s"
    )
    print(f"{what}\n{bounds}", flush=True)
    results: dict[str, Any] = {
        "environment": report.environment(device, None),
        "network": NETWORK,
        "limits": limits._asdict(),
        "rows": [],
    }

    folder = RunFolder(config.out, config, world)
    folder.start()

    def run(side: str, cell: Mapping[str, int]) -> dict[str, Any]:
        """One cell; the JSON grows with each, so that an interrupted run leaves it."""
        folder.write_json("scale.json", results)
        found = scale.run_cell(side, cell, device, torch.get_num_threads(), limits)
        results["rows"].append({"side": side, **cell, **found})
        return found

    say = partial(print, flush=True) if config.progress else lambda _: None
    results["rows"] = rows = scale.grow(axes, run, say)
    lines = scale.scale_table(rows)
    print("\n".join(lines))
    folder.write_json("scale.json", results)
    folder.write_results(results)
    write_text(config.out / "scale.txt", "\n".join([what, bounds, *lines, ""]))
    scale_figure(rows, what, config.out / "scale.png")
    print(f"written: {config.out / 'scale.txt'}, scale.json, scale.png")
    return results
