"""Cost of communication: a CrossPoint step on one and two processes, extrapolated to 8 and 64.

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
from pointssl.ops.backends import BACKENDS
from pointssl.ops.batch_norm import sync_batch_norms
from pointssl_datasets.base.errors import UserError


def reduce_seconds(size: int, count: float, bandwidth: float, latency: float) -> float:
    """Estimate the seconds of a ring all-reduce of ``count`` bytes; each process sends nearly twice
    that many bytes.

    Args:
        bandwidth: bytes per second of a process's link.
        latency: seconds for one of the ring's ``2 (size - 1)`` messages.
    """
    if size == 1:
        return 0.0
    return 2 * (size - 1) / size * count / bandwidth + 2 * (size - 1) * latency


def step_bytes(method: CrossPoint, rows: int, dim: int, kinds: int, size: int) -> tuple[int, int]:
    """Return the bytes of gradients summed in a step, and of embeddings gathered in a step.

    Args:
        rows: clouds per process.
        dim: channels of an embedding.
        kinds: embeddings per cloud.
    """
    gradients = sum(p.numel() * p.element_size() for p in method.parameters() if p.requires_grad)
    return gradients, 4 * rows * dim * kinds * size


def measure(world: World, options: argparse.Namespace) -> dict[str, Any]:
    """Measure the median seconds of a step, alternating with steps that don't sum gradients."""
    torch.manual_seed(0)
    device = world.device
    images = resnet18() if options.images else None
    method = CrossPoint(build_encoder(options.backbone), images).to(device)
    if options.sync_bn:
        sync_batch_norms(method)
    model = on_devices(method, world)
    batch = {name: torch.randn(options.batch, options.points, 3, device=device)
             for name in ("xyz1", "xyz2")}  # fmt: skip
    if options.images:
        batch["image"] = torch.rand(options.batch, 3, 224, 224, device=device)
    whole: list[float] = []
    apart: list[float] = []
    for number in range(2 * options.steps + 4):  # the first two of each kind warm up
        summed = number % 2 == 0
        seconds = world.largest(timed_step(model, batch, summed, world))[0]
        if number >= 4:
            (whole if summed else apart).append(seconds)
    parameters = torch.zeros(step_bytes(method, 0, 0, 0, 1)[0] // 4, device=device)
    sums = [timed(lambda: all_reduce(parameters, world), world) for _ in range(5)]
    gradients, embeddings = step_bytes(method, options.batch, 256, 2 + options.images, world.size)
    return {
        "step": statistics.median(whole),
        "apart": statistics.median(apart),
        "sum": statistics.median(sums[1:]),
        "gradients": gradients,
        "embeddings": embeddings,
    }


def all_reduce(x: Tensor, world: World) -> None:
    """Sum over the processes, without overlapping computation."""
    if world.size > 1:
        torch.distributed.all_reduce(x)


def timed_step(model: Any, batch: dict[str, Tensor], summed: bool, world: World) -> float:
    """Time forward and backward; gradients are summed over the processes only if ``summed``."""

    def step() -> None:
        model.zero_grad(set_to_none=True)
        alone = world.size > 1 and not summed
        with model.no_sync() if alone else contextlib.nullcontext():
            model(batch)["loss"].backward()

    return timed(step, world)


def timed(work: Any, world: World) -> float:
    """Measure the seconds from when all processes are ready until this one is done."""
    world.barrier()
    wait_for_device(world)
    began = time.perf_counter()
    work()
    wait_for_device(world)
    return time.perf_counter() - began


def wait_for_device(world: World) -> None:
    """Synchronise with the GPU, if there is one."""
    if world.device.type == "cuda":
        torch.cuda.synchronize(world.device)


def shares(times: dict[str, Any]) -> tuple[float, float]:
    """Return the seconds that a step waits for communication, and the share of the communication
    that overlaps with backward."""
    exposed = max(0.0, times["step"] - times["apart"])
    hidden = 1 - exposed / times["sum"] if times["sum"] else 0.0
    return exposed, min(1.0, max(0.0, hidden))


def report(alone: dict[str, Any], both: dict[str, Any], options: argparse.Namespace) -> str:
    """Format the table: measured rows, then estimated ones."""
    exposed, hidden = shares(both)
    size, rows = options.processes, options.batch
    lines = [
        f"{options.backbone}, {'with' if options.images else 'without'} images, {rows} clouds of "
        f"{options.points} points per process, {options.threads} thread(s) each, torch "
        f"{torch.__version__}",
        f"a step sums {both['gradients'] / 1e6:.1f} MB of gradients and gathers "
        f"{both['embeddings'] / 1e6:.2f} MB of embeddings",
        f"summing the gradients alone takes {1e3 * both['sum']:.1f} ms; a step waits for it "
        f"{1e3 * exposed:.1f} ms: {100 * exposed / both['step']:.1f}% of the step; "
        f"{100 * hidden:.0f}% of it overlaps with backward",
        "",
        f"{'processes':>9} {'s/step':>8} {'clouds/s':>9} {'efficiency':>10}  how",
    ]

    def row(number: int, seconds: float, how: str) -> str:
        share = 100 * alone["step"] / seconds
        return f"{number:9} {seconds:8.4f} {number * rows / seconds:9.1f} {share:9.1f}%  {how}"

    lines += [row(1, alone["step"], "measured"), row(size, both["step"], "measured")]
    bandwidth, latency = 1e9 / 8 * options.gbit, 1e-6 * options.latency_us
    for number in (8, 64):
        sums = reduce_seconds(number, both["gradients"], bandwidth, latency)
        # A gather costs half of a sum, and backward sums the gathered embeddings' gradients.
        embedded = both["embeddings"] / size * number
        gathered = 1.5 * reduce_seconds(number, embedded, bandwidth, latency)
        for share, how in ((0.0, "nothing hidden"), (hidden, f"{100 * hidden:.0f}% hidden")):
            seconds = alone["step"] + (1 - share) * sums + gathered
            lines.append(
                row(number, seconds, f"estimated: {options.gbit:g} Gbit/s, "
                f"{options.latency_us:g} us, {how}")
            )  # fmt: skip
    return "\n".join(lines)


def run_rank(rank: int, options: argparse.Namespace, port: int, size: int, folder: str) -> None:
    """Run one of ``size`` processes; rank 0 writes the measurements to ``folder``."""
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size,
             "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}  # fmt: skip
    os.environ.update({name: str(value) for name, value in place.items()})
    with start_world(options.device, options.threads, options.kernels) as world:
        times = measure(world, options)
        if world.is_main:
            torch.save(times, os.path.join(folder, f"{size}.pt"))


def main(arguments: list[str] | None = None) -> None:
    """Measure one process, then several, and print the table."""
    import tempfile

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--backbone", default="dgcnn")
    parser.add_argument("--points", type=int, default=1024)
    parser.add_argument("--batch", type=int, default=8, help="clouds per process")
    parser.add_argument("--images", action="store_true", help="with a ResNet-18 and images")
    parser.add_argument("--sync-bn", action="store_true")
    parser.add_argument("--steps", type=int, default=7)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads per process")
    parser.add_argument("--device", default=None, choices=("cpu", "cuda"))
    parser.add_argument("--gbit", type=float, default=100.0, help="link speed for estimates")
    parser.add_argument(
        "--latency-us", type=float, default=10.0, help="message latency for estimates"
    )
    parser.add_argument("--kernels", default="auto", choices=BACKENDS)
    options = parser.parse_args(arguments)
    if options.device is None:  # one GPU per process, or none at all
        enough = torch.cuda.device_count() >= options.processes
        options.device = "cuda" if enough else "cpu"
    if min(options.processes, options.batch, options.steps) < 2:
        parser.error("--processes, --batch and --steps: at least 2")
    if options.threads < 1 or options.points < 1 or options.gbit <= 0 or options.latency_us < 0:
        parser.error("--threads, --points and --gbit: above 0; --latency-us: not below 0")
    try:
        choose_device(options.device)
        build_encoder(options.backbone)
    except UserError as error:
        parser.error(str(error))
    times = {}
    with tempfile.TemporaryDirectory() as folder:
        for size in (1, options.processes):
            with socket.socket() as one:
                one.bind(("127.0.0.1", 0))
                port = one.getsockname()[1]
            print(f"measuring {size} process(es)", file=sys.stderr, flush=True)
            spawn(run_rank, (options, port, size, folder), nprocs=size)
            times[size] = torch.load(os.path.join(folder, f"{size}.pt"), weights_only=True)
    print(report(times[1], times[options.processes], options))


if __name__ == "__main__":
    main()
