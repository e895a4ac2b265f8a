"""Cost of every backbone: ``python -m pointssl.benchmarks.backbone_costs``.

Runs each backbone with its published arguments on clouds of random points. Times are medians over
several steps. Memory is the peak that one training step adds, in a fresh process. Multiply-adds are
those of the matrix products and convolutions for one cloud, including neighbour searches by matrix
products.
"""

import argparse
import sys
from functools import partial

import torch
from torch import Tensor, nn

from pointssl.backbones import BACKBONES
from pointssl.backbones.build import build_encoder
from pointssl.benchmarks.case import random_clouds
from pointssl.benchmarks.memory import added_memory, measured_afresh
from pointssl.benchmarks.report import describe
from pointssl.benchmarks.timing import median_seconds
from pointssl.engine.distributed import start_world
from pointssl.inspection.profile import profile_modules
from pointssl.ops.backends import BACKENDS
from pointssl.reports.tables import text_table

HEADER = (
    "backbone", "cloud", "parameters, M", "multiply-adds, G", "eval, clouds/s", "train, clouds/s",
    "train memory, MB",
)  # fmt: skip


def measure(name: str, clouds: int, points: int, repeats: int, device: torch.device) -> list[str]:
    """Measure a row of the table, without the memory."""
    encoder = build_encoder(name, seed=0).to(device)
    xyz = random_clouds(clouds, points, device)
    profile = profile_modules(encoder.eval(), xyz[:1], passes=1)[0]
    seconds = {
        mode: median_seconds(partial(step, encoder, mode, xyz), repeats, device)
        for mode in ("eval", "train")
    }
    return [
        name,
        f"{encoder.cloud_dim}",
        f"{sum(p.numel() for p in encoder.parameters()) / 1e6:.2f}",
        f"{profile['multiply_adds'] / 1e9:.2f}",
        *(f"{clouds / seconds[mode]:.1f}" for mode in ("eval", "train")),
    ]


def step(encoder: nn.Module, mode: str, xyz: Tensor) -> None:
    """Run a forward pass in evaluation mode, or a training step without optimiser on the cloud
    feature, as in contrastive pretraining."""
    encoder.train(mode == "train")
    if mode == "train":
        encoder.zero_grad(set_to_none=True)
        encoder(xyz).cloud.square().mean().backward()
    else:
        with torch.inference_mode():
            encoder(xyz)


def train_memory(name: str, clouds: int, points: int, device: torch.device) -> int:
    """Measure the peak bytes that a training step adds; call it in a fresh process."""
    # The first step also allocates what is set up only once; don't count that.
    step(build_encoder(name, seed=0).to(device), "train", random_clouds(2, 64, device))
    encoder = build_encoder(name, seed=0).to(device)
    xyz = random_clouds(clouds, points, device)
    return added_memory(partial(step, encoder, "train", xyz), device)


def main(arguments: list[str] | None = None) -> None:
    """Measure the backbones, and print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m pointssl.benchmarks.backbone_costs", description=__doc__
    )
    parser.add_argument("--backbone", action="append", choices=list(BACKBONES), help="default: all")
    parser.add_argument("--clouds", type=int, default=4)
    parser.add_argument("--points", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, help="CPU threads; default: torch's choice")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--kernels", default="auto", choices=BACKENDS)
    options = parser.parse_args(arguments)
    with start_world(options.device, options.threads, options.kernels) as world:
        size = (options.clouds, options.points)
        rows = []
        for backbone in options.backbone or BACKBONES:
            memory = measured_afresh(train_memory, world.device, backbone, *size)
            row = measure(backbone, *size, options.repeats, world.device)
            rows.append([*row, f"{memory:.0f}"])
            print(f"measured {backbone}", file=sys.stderr, flush=True)
        print(f"{size[0]} clouds of {size[1]} points, {describe(world.device)}")
        print("\n".join(text_table(HEADER, rows)))


if __name__ == "__main__":
    main()
