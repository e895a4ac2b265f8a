"""``--batch-size auto``: the most clouds a step that fit into memory, found by trying.

Every try is two steps of the very run in a process of its own, which may fail as it likes: the
second step has the optimiser's state beside the activations. A GPU is filled by doubling and
bisection. On a CPU, where memory that is not there kills instead of failing, two small batches are
measured, the rest is on a line through them, and what it promises is tried once.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from pointssl.checkpoints.file import load_checkpoint
from pointssl.config.groups import AUTO, TrainingOptions
from pointssl.config.options import to_dict
from pointssl.engine.distributed import World
from pointssl_datasets.base.errors import UsageError, UserError

C = TypeVar("C", bound=TrainingOptions)

SHARE = 0.8  # of the memory that is free: for other processes, and what a run needs now and then
FIRST = 8  # clouds of the first try
CLOSE = 8  # bisection ends within an eighth


def with_batch_size(config: C, most: int, world: World, *began: Path, run: str) -> C:
    """``config`` with a number where it says auto; every rank must call it.

    Args:
        most: clouds that there are.
        began: checkpoints whose batch size holds, the first that exists, so that a run continues
            as it began.
        run: ``"package.module:function"`` that runs such a config, for the tries.

    Raises:
        UsageError: there are too few clouds.
        UserError: not even two clouds a process fit, or the run fails for another reason.
    """
    if config.batch_size != AUTO:
        return config
    for path in began:
        if path.exists():
            began_with = load_checkpoint(path).get("config", {}).get("batch_size")
            if began_with is not None:
                world.say(f"--batch-size auto: {began_with}, as the run began")
                return replace(config, batch_size=began_with)
    if most < world.size * least_batch(config):
        raise UsageError(
            f"--batch-size auto: {most} clouds are too few for {world.size} process(es) with "
            f"{least_batch(config)} each: lower --accumulate, or take fewer processes"
        )
    found: tuple[int, str] = (0, "")
    if world.is_main:
        world.say("--batch-size auto: trying batches in processes of their own")
        found = find_batch_size(config, most, world, run)
    size, told = world.gather(found)[0]
    world.say(f"--batch-size auto: {size} ({told})")
    return replace(config, batch_size=size)


def least_batch(config: TrainingOptions) -> int:
    """Clouds of the smallest batch of a process, of which all others are multiples: two in each of
    its parts, as batch norm has no statistics of one."""
    return 2 * config.accumulate


def find_batch_size(config: TrainingOptions, most: int, world: World, run: str) -> tuple[int, str]:
    """The batch size over all processes, and how full it makes the memory, in words."""
    part = least_batch(config)
    highest = most // (world.size * part)
    limit = None if world.device.type == "cuda" else int(SHARE * free_memory() / local_ranks())
    with tempfile.TemporaryDirectory(prefix="pointssl-") as folder:
        tries = Tries(config, run, Path(folder), part, limit)
        count = largest(tries.expect, highest, max(1, FIRST // part))
        while count and not tries.fits(count):
            count = count * 4 // 5
    if not count:
        raise UserError(
            f"--batch-size auto: a batch of {part} clouds a process does not fit into memory: "
            "fewer --points, smaller pictures or --checkpoint-activations need less"
        )
    taken = f"{tries.peaks[count] / 2**30:.2f} GiB a process"
    if count == highest:
        taken = f"there are no more clouds; {taken}"
    return count * part * world.size, taken + (f" of {limit / 2**30:.2f}" if limit else "")


def largest(fits: Callable[[int], bool], most: int, start: int) -> int:
    """The largest count up to ``most`` that fits, to an eighth; 0 if none does."""
    low, high = 0, min(start, most)
    while low < high and fits(high):
        low, high = high, min(2 * high, most)
    while high - low > max(1, low // CLOSE):
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


@dataclass
class Tries:
    """What was tried.

    Attributes:
        run: as of :func:`with_batch_size`.
        folder: for the runs.
        part: clouds that a count stands for.
        limit: bytes a process may take; None: as many as the GPU gives it.
        peaks: bytes that a count took; infinite where it did not fit.
    """

    config: TrainingOptions
    run: str
    folder: Path
    part: int
    limit: int | None
    peaks: dict[int, float] = field(default_factory=dict)

    def expect(self, count: int) -> bool:
        """Whether it will fit: by the line through two that did where memory is limited."""
        done = sorted(n for n, peak in self.peaks.items() if peak < float("inf"))
        if self.limit is None or len(done) < 2 or count <= done[-1]:
            return self.fits(count)
        (a, b), peaks = done[-2:], self.peaks
        return peaks[b] + (peaks[b] - peaks[a]) / (b - a) * (count - b) <= self.limit

    def fits(self, count: int) -> bool:
        """Whether it did fit."""
        if count not in self.peaks:
            size = count * self.part
            self.peaks[count] = try_batch(self.config, size, self.folder, self.limit, self.run)
        peak = self.peaks[count]
        return peak < float("inf") if self.limit is None else peak <= self.limit


def try_batch(
    config: TrainingOptions, size: int, folder: Path, limit: int | None, run: str
) -> float:
    """Bytes at the most in two steps of ``size`` clouds on one process; infinite: too many.

    Raises:
        UserError: the run fails for another reason.
    """
    changes = {"batch_size": size, "epochs": 9, "max_time": 0.0, "progress": False, "seeds": 1,
               "resume": "auto", "save_every": 0, "run_dir": str(folder / str(size))}  # fmt: skip
    options = to_dict(config)
    options |= {name: value for name, value in changes.items() if name in options}
    # Two steps are tried, no probe.
    options |= {f.name: f.default for f in fields(config) if f.metadata["group"] == "Probe"}
    kind = f"{type(config).__module__}:{type(config).__name__}"
    asked = {"run": run, "config": kind, "options": options, "limit": limit}
    apart = ("RANK", "WORLD_SIZE", "LOCAL_", "GROUP_", "ROLE_", "MASTER_", "TORCHELASTIC_")
    env = {name: value for name, value in os.environ.items() if not name.startswith(apart)}
    done = subprocess.run(
        [sys.executable, "-m", "pointssl.engine.trial"],
        input=json.dumps(asked),
        env={**env, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
    )
    if done.returncode == -9:  # the system took its memory back
        return float("inf")
    try:
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        said = (done.stderr.strip().splitlines() or ["nothing"])[-1]
        raise UserError(
            f"--batch-size auto: a try with {size} clouds ended with {said!r} (exit code "
            f"{done.returncode}); give a number instead"
        ) from None
    if "error" in answer:
        raise UserError(f"--batch-size auto, trying {size}: {answer['error']}")
    return float("inf") if answer["peak"] is None else float(answer["peak"])


def local_ranks() -> int:
    """Processes of this run on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", os.environ.get("WORLD_SIZE", "1")))


def free_memory() -> int:
    """Bytes that this machine can still give, or this container."""
    found = []
    with contextlib.suppress(OSError):  # there on Linux alone
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                found.append(int(line.split()[1]) * 1024)
    group = Path("/sys/fs/cgroup")
    try:
        limit = (group / "memory.max").read_text().strip()
        if limit.isdigit():
            found.append(int(limit) - int((group / "memory.current").read_text()))
    except (OSError, ValueError):
        pass  # no such limit here
    if not found:
        raise UserError("--batch-size auto: this system does not say how much memory is free")
    return max(0, min(found))
