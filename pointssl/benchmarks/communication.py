"""Cost of communication: a CrossPoint step alone and on two processes, and what follows for more.

``python -m pointssl.benchmarks.communication`` starts its processes itself.
"""

import argparse
import contextlib
import os
import socket
import statistics
import sys
import time
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.spawn import spawn

from pointssl.backbones.build import build_encoder
from pointssl.engine.distributed import World, choose_device, start_world
from pointssl.engine.optimizer import on_devices
from pointssl.images.resnet import resnet18
from pointssl.methods.crosspoint import CrossPoint
from pointssl.ops.batch_norm import sync_batch_norms
from pointssl_datasets.base.errors import UserError


def reduce_seconds(size: int, count: float, bandwidth: float, latency: float) -> float:
    """Of a ring all-reduce of ``count`` bytes: every byte leaves each process almost twice.

    Args:
        bandwidth: bytes a second of a process's link.
        latency: seconds of one of the ring's ``2 (size - 1)`` messages.
    """
    if size == 1:
        return 0.0
    return 2 * (size - 1) / size * count / bandwidth + 2 * (size - 1) * latency


def step_bytes(method: CrossPoint, rows: int, dim: int, kinds: int, size: int) -> tuple[int, int]:
    """Bytes of gradients summed in a step, and of embeddings gathered and their gradients summed.

    Args:
        rows: clouds of one process.
        dim: channels of an embedding.
        kinds: embeddings of a cloud.
    """
    gradients = sum(p.numel() * p.element_size() for p in method.parameters() if p.requires_grad)
    return gradients, 4 * rows * dim * kinds * size


def measure(world: World, asked: argparse.Namespace) -> dict[str, Any]:
    """Median seconds of a step, and of one whose gradients are not summed, in turn."""
    torch.manual_seed(0)
    device = world.device
    images = resnet18() if asked.images else None
    method = CrossPoint(build_encoder(asked.backbone), images).to(device)
    if asked.sync_bn:
        sync_batch_norms(method)
    model = on_devices(method, world)
    batch = {name: torch.randn(asked.batch, asked.points, 3, device=device)
             for name in ("xyz1", "xyz2")}  # fmt: skip
    if asked.images:
        batch["image"] = torch.rand(asked.batch, 3, 224, 224, device=device)
    whole: list[float] = []
    apart: list[float] = []
    for number in range(2 * asked.steps + 4):  # the first of each are to warm up
        summed = number % 2 == 0
        seconds = world.largest(timed_step(model, batch, summed, world))[0]
        if number >= 4:
            (whole if summed else apart).append(seconds)
    parameters = torch.zeros(step_bytes(method, 0, 0, 0, 1)[0] // 4, device=device)
    sums = [timed(lambda: all_reduce(parameters, world), world) for _ in range(5)]
    gradients, embeddings = step_bytes(method, asked.batch, 256, 2 + asked.images, world.size)
    return {
        "step": statistics.median(whole),
        "apart": statistics.median(apart),
        "sum": statistics.median(sums[1:]),
        "gradients": gradients,
        "embeddings": embeddings,
    }


def all_reduce(x: Tensor, world: World) -> None:
    """Sum over the processes, with nothing to hide it behind."""
    if world.size > 1:
        torch.distributed.all_reduce(x)


def timed_step(model: Any, batch: dict[str, Tensor], summed: bool, world: World) -> float:
    """Forward and backward; without the sums of gradients unless ``summed``."""

    def step() -> None:
        model.zero_grad(set_to_none=True)
        alone = world.size > 1 and not summed
        with model.no_sync() if alone else contextlib.nullcontext():
            model(batch)["loss"].backward()

    return timed(step, world)


def timed(work: Any, world: World) -> float:
    """Seconds from when all are ready until this process is done."""
    world.barrier()
    wait_for_device(world)
    began = time.perf_counter()
    work()
    wait_for_device(world)
    return time.perf_counter() - began


def wait_for_device(world: World) -> None:
    if world.device.type == "cuda":
        torch.cuda.synchronize(world.device)


def shares(found: dict[str, Any]) -> tuple[float, float]:
    """Seconds of communication that a step waits for, and the share that backward hides."""
    exposed = max(0.0, found["step"] - found["apart"])
    hidden = 1 - exposed / found["sum"] if found["sum"] else 0.0
    return exposed, min(1.0, max(0.0, hidden))


def report(alone: dict[str, Any], both: dict[str, Any], asked: argparse.Namespace) -> str:
    """The table: measured, then on paper."""
    exposed, hidden = shares(both)
    size, rows = asked.processes, asked.batch
    lines = [
        f"{asked.backbone}, {'with' if asked.images else 'without'} pictures, {rows} clouds of "
        f"{asked.points} points a process, {asked.threads} thread(s) each, torch "
        f"{torch.__version__}",
        f"a step sums {both['gradients'] / 1e6:.1f} MB of gradients and gathers "
        f"{both['embeddings'] / 1e6:.2f} MB of embeddings",
        f"sum of gradients on its own {1e3 * both['sum']:.1f} ms; a step waits for it "
        f"{1e3 * exposed:.1f} ms: {100 * exposed / both['step']:.1f}% of the step; "
        f"{100 * hidden:.0f}% of it is hidden behind backward",
        "",
        f"{'processes':>9} {'s/step':>8} {'clouds/s':>9} {'efficiency':>10}  how",
    ]

    def row(number: int, seconds: float, how: str) -> str:
        share = 100 * alone["step"] / seconds
        return f"{number:9} {seconds:8.4f} {number * rows / seconds:9.1f} {share:9.1f}%  {how}"

    lines += [row(1, alone["step"], "measured"), row(size, both["step"], "measured")]
    bandwidth, latency = 1e9 / 8 * asked.gbit, 1e-6 * asked.latency_us
    for number in (8, 64):
        sums = reduce_seconds(number, both["gradients"], bandwidth, latency)
        # a gather is half of a sum, and backward sums what was gathered
        embedded = both["embeddings"] / size * number
        gathered = 1.5 * reduce_seconds(number, embedded, bandwidth, latency)
        for share, how in ((0.0, "nothing hidden"), (hidden, f"{100 * hidden:.0f}% hidden")):
            seconds = alone["step"] + (1 - share) * sums + gathered
            lines.append(
                row(number, seconds, f"on paper: {asked.gbit:g} Gbit/s, {asked.latency_us:g} us, "
                f"{how}")
            )  # fmt: skip
    return "\n".join(lines)


def run_rank(rank: int, asked: argparse.Namespace, port: int, size: int, folder: str) -> None:
    """One process of ``size``; rank 0 leaves what it found in ``folder``."""
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size,
             "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}  # fmt: skip
    os.environ.update({name: str(value) for name, value in place.items()})
    with start_world(asked.device, asked.threads) as world:
        found = measure(world, asked)
        if world.is_main:
            torch.save(found, os.path.join(folder, f"{size}.pt"))


def main(arguments: list[str] | None = None) -> None:
    """Measure one process, then several, and print the table."""
    import tempfile

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--backbone", default="dgcnn")
    parser.add_argument("--points", type=int, default=1024)
    parser.add_argument("--batch", type=int, default=8, help="clouds of one process")
    parser.add_argument("--images", action="store_true", help="with a ResNet-18 and pictures")
    parser.add_argument("--sync-bn", action="store_true")
    parser.add_argument("--steps", type=int, default=7)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of a process")
    parser.add_argument("--device", default=None, choices=("cpu", "cuda"))
    parser.add_argument("--gbit", type=float, default=100.0, help="of the link on paper")
    parser.add_argument("--latency-us", type=float, default=10.0, help="of a message on paper")
    asked = parser.parse_args(arguments)
    if asked.device is None:  # a GPU each, or none
        enough = torch.cuda.device_count() >= asked.processes
        asked.device = "cuda" if enough else "cpu"
    if min(asked.processes, asked.batch, asked.steps) < 2:
        parser.error("--processes, --batch and --steps: at least 2")
    if asked.threads < 1 or asked.points < 1 or asked.gbit <= 0 or asked.latency_us < 0:
        parser.error("--threads, --points and --gbit: above 0; --latency-us: not below 0")
    try:
        choose_device(asked.device)
        build_encoder(asked.backbone)
    except UserError as error:
        parser.error(str(error))
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for size in (1, asked.processes):
            with socket.socket() as one:
                one.bind(("127.0.0.1", 0))
                port = one.getsockname()[1]
            print(f"measuring {size} process(es)", file=sys.stderr, flush=True)
            spawn(run_rank, (asked, port, size, folder), nprocs=size)
            found[size] = torch.load(os.path.join(folder, f"{size}.pt"), weights_only=True)
    print(report(found[1], found[asked.processes], asked))


if __name__ == "__main__":
    main()
