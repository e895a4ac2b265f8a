"""What the fast path saves: ``python -m pointssl.bench``.

Each row of the table is one network in one mode, run by the textbook's operations and by ours with
the same weights on the same clouds. Times are medians of pairs measured in turn in one process;
memory is what a single step takes above what the process held before it, each in a fresh process.
"""

import argparse
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from pointssl.bench_reference import TEXTBOOK
from pointssl.encoders import build_encoder
from pointssl.engine.memory import keep_freed_memory

K = 20
SIDES = ("textbook", "pointssl")


@dataclass(frozen=True)
class Case:
    """A row of the table."""

    network: str
    mode: str  # train or eval
    clouds: int
    points: int


CASES = [
    Case(network, mode, clouds, points)
    for network, clouds, points in (("dgcnn", 8, 1024), ("dgcnn", 4, 2048), ("dgcnn_seg", 8, 1024))
    for mode in ("train", "eval")
]


def make_step(case: Case, side: str, device: torch.device) -> Callable[[Tensor], None]:
    """A training step without optimiser, or a pass in evaluation mode, on given clouds."""
    encoder = build_encoder(case.network, k=K, seed=0).to(device)
    encoder.train(case.mode == "train")
    run: Callable[[Tensor], Tensor] = lambda xyz: features(encoder, case.network, side, xyz)  # noqa: E731

    def step(xyz: Tensor) -> None:
        if case.mode == "train":
            encoder.zero_grad(set_to_none=True)
            run(xyz).square().mean().backward()
        else:
            with torch.inference_mode():
                run(xyz)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return step


def features(encoder: nn.Module, network: str, side: str, xyz: Tensor) -> Tensor:
    """The clouds' features ``(B, D)``, by one side or the other."""
    output = TEXTBOOK[network](encoder, xyz) if side == "textbook" else encoder(xyz)
    return output.cloud


def check_equal(network: str, device: torch.device) -> None:
    """Both sides give the same features and gradients, in float64.

    Raises:
        AssertionError: they differ, and no time is worth printing.
    """
    xyz = random_clouds(2, 160, torch.device("cpu")).double().to(device)
    for training in (False, True):
        found = []
        for side in SIDES:
            encoder = build_encoder(network, k=K, seed=0).to(device, torch.float64)
            encoder.train(training)
            noise = torch.Generator().manual_seed(1)
            with torch.no_grad():  # a T-Net starts with zeros, which would hide what is before it
                for parameter in encoder.parameters():
                    parameter.add_(
                        torch.randn(parameter.shape, generator=noise).to(device), alpha=0.05
                    )
            feature = features(encoder, network, side, xyz)
            gradients = torch.autograd.grad(feature.square().sum(), list(encoder.parameters()))
            found.append([feature.detach(), *gradients])
        scale = max(float(value.abs().max()) for value in found[0])
        for textbook, ours in zip(*found, strict=True):
            allowed = 1e-7 * max(float(textbook.abs().max()), 1e-3 * scale)
            assert float((ours - textbook).abs().max()) < allowed, network


def measure_time(
    case: Case, repeats: int, device: torch.device
) -> tuple[dict[str, float], dict[str, float]]:
    """Median seconds of each side, by the clock and of the processor."""
    steps = {side: make_step(case, side, device) for side in SIDES}
    xyz = random_clouds(case.clouds, case.points, device)
    wall: dict[str, list[float]] = {side: [] for side in SIDES}
    cpu: dict[str, list[float]] = {side: [] for side in SIDES}
    for repeat in range(repeats + 1):
        for side, step in steps.items():
            clock, processor = time.perf_counter(), time.process_time()
            step(xyz)
            if repeat > 0:  # the first one warms up
                wall[side].append(time.perf_counter() - clock)
                cpu[side].append(time.process_time() - processor)
    return (
        {side: statistics.median(values) for side, values in wall.items()},
        {side: statistics.median(values) for side, values in cpu.items()},
    )


def measure_memory(case: Case, side: str, device: torch.device) -> int:
    """Peak bytes of one step above those before it; for a fresh process."""
    step = make_step(case, side, device)
    step(random_clouds(2, 64, device))  # what a first step sets up once is not a step's memory
    xyz = random_clouds(case.clouds, case.points, device)
    return added_memory(lambda: step(xyz), device)


def added_memory(run: Callable[[], None], device: torch.device) -> int:
    """Peak bytes of a call above those before it; on a CPU in a fresh process only."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        return torch.cuda.max_memory_allocated(device) - before
    before = _process_memory("VmRSS")
    run()
    return _process_memory("VmHWM") - before


def measured_afresh(module: str, device: torch.device, *words: str) -> float:
    """What ``python -m module WORDS`` prints of its memory, in MB, in a process of its own with our
    device and threads; NaN where it cannot be told."""
    if device.type == "cpu" and not Path("/proc/self/status").exists():
        return float("nan")
    command = [sys.executable, "-m", module, "--device", str(device)]
    command += ["--threads", str(torch.get_num_threads()), *words]
    answer = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ)
    return int(answer.stdout) / 1e6


def _process_memory(key: str) -> int:
    """``VmRSS``, what this process holds, or ``VmHWM``, the most it ever held; bytes.

    Not ``getrusage``, whose maximum starts from that of the parent process.
    """
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {key}")


def random_clouds(clouds: int, points: int, device: torch.device) -> Tensor:
    """``(B, N, 3)`` normal points, the same on every machine."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(clouds, points, 3, generator=generator).to(device)


def describe(device: torch.device) -> str:
    """What ran here."""
    if device.type == "cuda":
        hardware = torch.cuda.get_device_name(device)
    else:
        hardware = f"{platform.machine()} CPU, {torch.get_num_threads()} threads"
    return f"torch {torch.__version__}, {hardware}, float32"


def prepare(device: str, threads: int | None) -> torch.device:
    """The process as it is to be measured, and its device: ``auto``, ``cpu``, ``cuda:1``, ..."""
    keep_freed_memory()
    if threads:
        torch.set_num_threads(threads)
    found = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(found if device == "auto" else device)


HEADER = (
    "network    mode   B     N   seconds: textbook    ours   ratio  by CPU time   "
    "MB: textbook   ours  ratio  clouds/s"
)


def table_row(case: Case, repeats: int, device: torch.device) -> str:
    wall, cpu = measure_time(case, repeats, device)
    sizes = (case.network, case.mode, str(case.clouds), str(case.points))
    memory = {
        side: measured_afresh("pointssl.bench", device, "--memory-of", side, *sizes)
        for side in SIDES
    }
    on_gpu = device.type == "cuda"
    by_cpu = "-" if on_gpu else f"{cpu['textbook'] / cpu['pointssl']:.1f}x"
    return (
        f"{case.network:10} {case.mode:5} {case.clouds:2} {case.points:5} "
        f"{wall['textbook']:19.4f} {wall['pointssl']:7.4f} "
        f"{wall['textbook'] / wall['pointssl']:6.1f}x {by_cpu:>12} "
        f"{memory['textbook']:14.0f} {memory['pointssl']:6.0f} "
        f"{memory['pointssl'] / memory['textbook']:6.2f} {case.clouds / wall['pointssl']:9.1f}"
    )


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m pointssl.bench", description=__doc__)
    parser.add_argument("--threads", type=int, help="of the CPU; by default torch's choice")
    parser.add_argument("--repeats", type=int, default=5, help="pairs measured for each row")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, ...")
    parser.add_argument("--quick", action="store_true", help="small clouds, two pairs: does it run")
    parser.add_argument("--memory-of", nargs=5, help=argparse.SUPPRESS)  # one fresh process
    options = parser.parse_args(arguments)
    device = prepare(options.device, options.threads)
    if options.memory_of:
        side, network, mode, clouds, points = options.memory_of
        print(measure_memory(Case(network, mode, int(clouds), int(points)), side, device))
        return
    for network in TEXTBOOK:
        check_equal(network, device)
    print("Both sides give the same features and gradients in float64.")
    print(f"{describe(device)}, k = {K}")
    print(HEADER)
    cases = [Case(c.network, c.mode, 2, 256) for c in CASES if c.clouds == 8]
    for case in cases if options.quick else CASES:
        print(table_row(case, 2 if options.quick else options.repeats, device), flush=True)


if __name__ == "__main__":
    main()
