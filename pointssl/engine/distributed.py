"""The process group: one process or many, by torchrun's environment."""

import contextlib
import datetime
import gc
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import nn

from pointssl.engine.memory import keep_freed_memory
from pointssl.ops.backends import triton_runs, using
from pointssl_datasets.base.errors import UsageError, UserError

if dist.is_available():
    # Its functions take the process group that exists when it is imported as a default argument.
    # Imported later, as DistributedDataParallel does, they would keep the group and its threads
    # alive after it is destroyed, and a thread that meets the interpreter's end aborts the process.
    import torch.distributed.nn.functional

T = TypeVar("T")

# The others wait while rank 0 packs a dataset or draws its pictures, which may take hours; a
# process that dies is noticed at once.
PATIENCE = datetime.timedelta(hours=12)


@dataclass(frozen=True)
class World:
    """This process among all that train together.

    Attributes:
        rank: 0 to size - 1; rank 0 alone writes and shows progress.
        local_rank: rank on this machine, and the number of its GPU.
        size: number of processes.
        device: where this process computes.
        started: when, by ``time.monotonic``.
    """

    rank: int
    local_rank: int
    size: int
    device: torch.device
    started: float = field(default_factory=time.monotonic, compare=False)

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def barrier(self) -> None:
        """Wait for every rank; every rank must call it."""
        if self.size > 1:
            dist.barrier()

    def say(self, line: str) -> None:
        """Print a line, once for all processes."""
        if self.is_main:
            print(line, flush=True)

    def largest(self, *values: float) -> list[float]:
        """The element-wise maximum over all ranks, on every rank."""
        if self.size == 1:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(tensor, op=dist.ReduceOp.MAX)
        return tensor.tolist()

    def gather(self, value: Any) -> list[Any]:
        """The plain ``value`` of every rank, by rank, on every rank."""
        values: list[Any] = [value] * self.size
        if self.size > 1:
            dist.all_gather_object(values, value)
        return values

    def share_buffers(self, module: nn.Module) -> None:
        """Rank 0's buffers, such as running statistics, on every rank; every rank must call it."""
        if self.size > 1:
            for buffer in module.buffers():
                dist.broadcast(buffer, src=0)

    def main_first(self, make: Callable[[], T]) -> T:
        """``make()`` on rank 0, then on the others, who find on disk what it left there."""
        if not self.is_main:
            self.barrier()
        made = make()
        if self.is_main:
            self.barrier()
        return made


def _number(name: str, default: int) -> int:
    value = os.environ.get(name, str(default))
    if not value.isdigit():
        raise UsageError(f"environment variable {name}={value!r}: expected a number; use torchrun")
    return int(value)


@contextlib.contextmanager
def start_world(
    device: str = "auto", threads: int | None = None, kernels: str = "auto"
) -> Iterator[World]:
    """Join the process group that torchrun describes, or be alone; leave it at the end.

    Args:
        device: ``auto`` takes this rank's GPU where there is one.
        threads: CPU threads of this process; by default the cores over the local processes.
        kernels: what runs the point operations, see :mod:`pointssl.ops.backends`.

    Raises:
        UsageError: the kernels can't run here.
        UserError: the group could not be made, e.g. its port is in use; or another process of it
            has died.
    """
    rank, size = _number("RANK", 0), _number("WORLD_SIZE", 1)
    local_rank, local_size = _number("LOCAL_RANK", 0), _number("LOCAL_WORLD_SIZE", size)
    place = choose_device(device, local_rank)
    if kernels == "triton" and not triton_runs(place.type):
        raise UsageError(
            "--kernels triton needs a GPU; auto takes the fastest that runs here "
            "(TRITON_INTERPRET=1 in the environment has them interpreted, very slowly)"
        )
    if place.type == "cpu":
        keep_freed_memory()
    torch.set_num_threads(threads or max(1, (os.cpu_count() or 1) // local_size))
    if size > 1:
        backend = "nccl" if place.type == "cuda" else "gloo"
        try:
            dist.init_process_group(backend, timeout=PATIENCE)
            dist.barrier()  # a rank that fails at once must not leave while others still connect
        except (RuntimeError, ValueError) as error:
            address = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
            reason = str(error).splitlines()[0].rstrip(".")
            raise UserError(
                f"rank {rank} of {size} could not join the process group at {address}: {reason}. "
                "If the port is in use, give torchrun another --master-port."
            ) from None
    try:
        with using(kernels):
            yield World(rank, local_rank, size, place)
    except RuntimeError as error:
        if "gloo/transport" not in str(error) and not isinstance(error, dist.DistError):
            raise
        raise UserError(
            f"rank {rank} lost the connection to another process, which failed or was killed: "
            "its own message says why"
        ) from None
    finally:
        if dist.is_initialized():
            gc.collect()  # what is left of a DistributedDataParallel holds the group as well
            dist.destroy_process_group()


def choose_device(device: str, local_rank: int = 0) -> torch.device:
    """``auto``, ``cpu`` or ``cuda`` as the device of one process.

    Raises:
        UsageError: CUDA was asked for and is not there, or has too few GPUs.
    """
    available = torch.cuda.is_available()
    if device == "cpu" or (device == "auto" and not available):
        return torch.device("cpu")
    if not available:
        raise UsageError("--device cuda: torch sees no GPU here; see `pointssl doctor`")
    if local_rank >= torch.cuda.device_count():
        raise UsageError(
            f"local rank {local_rank} has no GPU: this machine has {torch.cuda.device_count()}; "
            "lower torchrun's --nproc-per-node"
        )
    torch.cuda.set_device(local_rank)
    return torch.device("cuda", local_rank)


def local_batch(batch_size: int, world: World) -> int:
    """Rows of the global batch that this rank takes.

    Raises:
        UsageError: the batch does not divide evenly.
    """
    if batch_size % world.size:
        near = max(1, batch_size // world.size) * world.size
        raise UsageError(
            f"--batch-size {batch_size} is global and does not divide over {world.size} "
            f"processes; try {near} or {near + world.size}"
        )
    return batch_size // world.size
