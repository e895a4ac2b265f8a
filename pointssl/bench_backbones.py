"""What each backbone costs: ``python -m pointssl.bench_backbones``.

Every backbone with its published arguments, on clouds of random points. Times are medians of
several steps; memory is what one training step takes above what the process held before it, in a
fresh process. Multiply-adds are those of matrix products and convolutions for one cloud, the search
for neighbours by matrix products among them.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import torch

from pointssl.backbones import BACKBONES
from pointssl.bench import process_memory, random_clouds
from pointssl.encoders import build_encoder
from pointssl.engine.memory import keep_freed_memory
from pointssl.evaluation.module_profile import profile_modules
from pointssl.evaluation.tables import text_table

HEADER = (
    "backbone", "cloud", "parameters, M", "multiply-adds, G", "eval, clouds/s", "train, clouds/s",
    "train memory, MB",
)  # fmt: skip


def measure(name: str, clouds: int, points: int, repeats: int, device: torch.device) -> list[str]:
    """A row of the table but for the memory."""
    encoder = build_encoder(name, seed=0).to(device)
    xyz = random_clouds(clouds, points, device)
    profile = profile_modules(encoder.eval(), xyz[:1], passes=1)[0]
    seconds = {mode: clock(step(name, mode, xyz), repeats, device) for mode in ("eval", "train")}
    return [
        name,
        f"{encoder.cloud_dim}",
        f"{sum(p.numel() for p in encoder.parameters()) / 1e6:.2f}",
        f"{profile['multiply_adds'] / 1e9:.2f}",
        *(f"{clouds / seconds[mode]:.1f}" for mode in ("eval", "train")),
    ]


def step(name: str, mode: str, xyz: torch.Tensor) -> Callable[[], None]:
    """A pass in evaluation mode, or a training step without optimiser on the cloud feature, which
    is what contrastive pretraining asks for."""
    encoder = build_encoder(name, seed=0).to(xyz.device).train(mode == "train")

    def run() -> None:
        if mode == "train":
            encoder.zero_grad(set_to_none=True)
            encoder(xyz).cloud.square().mean().backward()
        else:
            with torch.inference_mode():
                encoder(xyz)

    return run


def clock(run: Callable[[], None], repeats: int, device: torch.device) -> float:
    """Median seconds of a call; the first one warms up."""
    seconds = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[1:])


def train_memory(name: str, clouds: int, points: int, device: torch.device) -> int:
    """Peak bytes of a training step above those before it; for a fresh process."""
    step(name, "train", random_clouds(2, 64, device))()  # what a first step sets up once
    run = step(name, "train", random_clouds(clouds, points, device))
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        return torch.cuda.max_memory_allocated(device) - before
    before = process_memory("VmRSS")
    run()
    return process_memory("VmHWM") - before


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m pointssl.bench_backbones", description=__doc__)
    parser.add_argument("--backbone", action="append", choices=list(BACKBONES), help="default: all")
    parser.add_argument("--clouds", type=int, default=4)
    parser.add_argument("--points", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, help="of the CPU; by default torch's choice")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, ...")
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)  # one fresh process
    options = parser.parse_args(arguments)
    keep_freed_memory()
    if options.threads:
        torch.set_num_threads(options.threads)
    name = options.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    device, size = torch.device(name), (options.clouds, options.points)
    if options.memory_of:
        print(train_memory(options.memory_of, *size, device))
        return
    rows = []
    for backbone in options.backbone or BACKBONES:
        command = [sys.executable, "-m", "pointssl.bench_backbones", "--memory-of", backbone]
        command += ["--clouds", str(size[0]), "--points", str(size[1]), "--device", name]
        command += ["--threads", str(torch.get_num_threads())]
        answer = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ)
        row = measure(backbone, *size, options.repeats, device)
        rows.append([*row, f"{int(answer.stdout) / 1e6:.0f}"])
        print(f"measured {backbone}", file=sys.stderr, flush=True)
    hardware = (
        torch.cuda.get_device_name(device) if device.type == "cuda"
        else f"CPU, {torch.get_num_threads()} threads"
    )  # fmt: skip
    print(f"{size[0]} clouds of {size[1]} points, float32, torch {torch.__version__}, {hardware}")
    print("\n".join(text_table(HEADER, rows)))


if __name__ == "__main__":
    main()
