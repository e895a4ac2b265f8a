"""One cell of ``pointssl bench --scale``: training steps of one size, in separate processes.

Started by :mod:`pointssl.benchmarks.scale`, directly or by torchrun; prints a line of JSON.
"""

import json
import os
import sys
import time
from typing import Any

import torch
from torch import nn

from pointssl.benchmarks.backbones import encoder_of
from pointssl.benchmarks.case import random_clouds
from pointssl.benchmarks.memory import added_memory, is_out_of_memory
from pointssl.benchmarks.timing import wait
from pointssl.engine.distributed import World, start_world
from pointssl.engine.memory import STATUS, process_memory
from pointssl.engine.optimizer import on_devices

MOST, SECONDS = 5, 5.0  # maximum number of timed steps, and their approximate total duration
NETWORK = "dgcnn"


def measure_cell(side: str, clouds: int, points: int, limit: int, world: World) -> dict[str, Any]:
    """Measure clouds per second and MB of all processes, with ``clouds`` per process and step.

    Args:
        limit: bytes that this process may allocate in addition to its first, small step.
    """
    model = on_devices(encoder_of(NETWORK, side).to(world.device).train(), world)
    train_step(model, 2, 64, world)
    limit_memory(limit, world.device)
    memory = added_memory(lambda: train_step(model, clouds, points, world), world.device)
    began = time.perf_counter()
    train_step(model, clouds, points, world)
    slowest = world.largest(time.perf_counter() - began)[0]
    steps = max(1, min(MOST, int(SECONDS / slowest)))
    began = time.perf_counter()
    for _ in range(steps):
        train_step(model, clouds, points, world)
    slowest = world.largest(time.perf_counter() - began)[0]
    return {
        "clouds_per_second": world.size * clouds * steps / slowest,
        "memory": sum(world.gather(memory)) / 1e6,
    }


def train_step(model: nn.Module, clouds: int, points: int, world: World) -> None:
    """Run forward and backward on random clouds, without optimiser."""
    model.zero_grad(set_to_none=True)
    model(random_clouds(clouds, points, world.device)).cloud.square().mean().backward()
    wait(world.device)


def limit_memory(limit: int, device: torch.device) -> None:
    """Limit further allocations to ``limit`` bytes. Exceeding it raises an error, which can be
    caught; without it, a system that is out of memory kills some process."""
    if device.type == "cuda":
        total = torch.cuda.get_device_properties(device).total_memory
        reserved = torch.cuda.memory_reserved(device)
        torch.cuda.set_per_process_memory_fraction(min(1.0, (reserved + limit) / total), device)
    elif STATUS.exists():
        import resource

        allowed = process_memory("VmData") + limit
        resource.setrlimit(resource.RLIMIT_DATA, (allowed, allowed))


def main() -> None:
    """Run a cell; arguments: ``SIDE CLOUDS POINTS LIMIT DEVICE THREADS KERNELS``."""
    side, clouds, points, limit, device, threads, kernels = sys.argv[1:]
    try:
        with start_world(device, int(threads), kernels) as world:
            result = measure_cell(side, int(clouds), int(points), int(limit), world)
            world.say(json.dumps(result))
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        print(json.dumps({"outcome": "out of memory"}), flush=True)
        os._exit(1)  # the others wait in a collective until torchrun ends them


if __name__ == "__main__":
    main()
