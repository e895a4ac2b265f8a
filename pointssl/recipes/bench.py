"""`pointssl bench`: every case in turn, its row printed, kept and drawn."""

import os
from typing import Any

from tqdm import tqdm

from pointssl.benchmarks import report
from pointssl.benchmarks.floor import measure_rates
from pointssl.benchmarks.measuring import all_cases, measure
from pointssl.config.tools import BenchConfig
from pointssl.engine.distributed import World, start_world
from pointssl.reports.figures.speedup import ratios_figure
from pointssl.runs.folder import RunFolder
from pointssl_datasets.base.errors import UsageError, UserError
from pointssl_datasets.base.writing import write_text

SECONDS = {"quick": 0.5, "default": 6.0, "full": 10.0}  # of rounds, for each case
ON_GPU = 3.0


def run(config: BenchConfig) -> dict[str, Any]:
    """Measure as ``config`` says; returns what ``bench.json`` or ``scale.json`` holds.

    Raises:
        UserError: cases failed; what the others gave is printed and written all the same.
        UsageError: it runs on several processes.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UsageError("bench starts the processes that it needs: run it without torchrun")
    for name in config.programs:
        run_program(name, config)
    if not config.sections:
        return {}
    with start_world(config.device, config.threads, config.kernels) as world:
        if config.scale:
            from pointssl.recipes.bench_scale import measure_scale

            return measure_scale(config, world)
        return compare(config, world)


def run_program(name: str, config: BenchConfig) -> None:
    """Run a benchmark that prints a table of its own, at sizes that suit the level."""
    from pointssl.benchmarks import backbone_costs, communication, packing

    machine = ["--kernels", config.kernels]
    if config.device != "auto":
        machine += ["--device", config.device]
    if config.threads is not None:
        machine += ["--threads", str(config.threads)]
    if name == "costs":
        small = ["--clouds", "2", "--points", "256", "--repeats", "1"]
        backbone_costs.main([*machine, *(small if config.quick else [])])
    elif name == "packing":  # reads files only: no device
        packing.main(["--clouds", "50", "--index", "1000"] if config.quick else [])
    else:
        small = ["--batch", "2", "--points", "256", "--steps", "2"]
        communication.main([*machine, *(small if config.quick else [])])


def compare(config: BenchConfig, world: World) -> dict[str, Any]:
    """All cases of the sections; the JSON grows with each, so that an interrupted run leaves it."""
    device = world.device
    folder = RunFolder(config.out, config, world)
    folder.start()
    small = {"side": 512, "megabytes": 32} if config.quick and device.type == "cpu" else {}
    rates = measure_rates(device, **small)
    print(report.describe(device))
    print(report.rates_line(rates), flush=True)
    results: dict[str, Any] = {
        "level": config.level,
        "environment": report.environment(device, rates),
        "rows": [],
    }
    seconds = SECONDS[config.level]
    if device.type == "cuda":
        seconds = min(seconds, ON_GPU)
    cases = all_cases(config.sections, config.level, device)
    with tqdm(cases, unit="case", leave=False, disable=not config.progress) as bar:
        for case in bar:
            bar.set_description(case.name)
            results["rows"].append(measure(case, device, rates, seconds))
            folder.write_json("bench.json", results)
    lines = report.table(results["rows"])
    print("\n".join(lines))
    title = report.describe(device)
    write_text(config.out / "bench.txt", "\n".join([title, report.rates_line(rates), *lines, ""]))
    folder.write_results(results)
    ratios_figure(results["rows"], title, config.out / "bench.png")
    print(f"written: {config.out / 'bench.txt'}, bench.json, bench.png")
    failed = [row["case"] for row in results["rows"] if "error" in row]
    if failed:
        raise UserError(f"{len(failed)} of {len(cases)} cases failed, see above: {failed[0]}, ...")
    return results
