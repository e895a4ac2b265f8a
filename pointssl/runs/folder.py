"""The run directory: what was asked, where it ran, what came out. Only rank 0 writes."""

import json
import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import torch

from pointssl.checkpoints.file import write_atomically
from pointssl.config.options import Options, to_yaml
from pointssl.version import __version__
from pointssl_datasets.base.errors import UsageError, UserError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

PACKAGES = ("torch", "numpy", "scipy", "scikit-learn", "h5py", "pillow", "trimesh", "safetensors")


class Process(Protocol):
    """What a run folder must know of the processes that train together; a
    :class:`pointssl.engine.distributed.World` is one."""

    @property
    def is_main(self) -> bool: ...

    @property
    def size(self) -> int: ...

    @property
    def device(self) -> torch.device: ...


def write_bytes(path: Path, content: bytes) -> None:
    """``content`` into ``path``, whole or not at all."""

    def write(file: BinaryIO) -> None:
        file.write(content)

    write_atomically(path, write)


def write_text(path: Path, text: str) -> None:
    """``text`` into ``path``, whole or not at all."""
    write_bytes(path, text.encode())


def write_json(path: Path, values: Any) -> None:
    """``values`` as JSON into ``path``, whole or not at all."""
    write_text(path, json.dumps(values, indent=2) + "\n")


def read_json(path: Path) -> Any:
    """What :func:`write_json` wrote.

    Raises:
        UserError: it can't be read, or somebody damaged it.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as JSON ({error}): delete it") from None


def environment(world: Process) -> dict[str, Any]:
    """Versions, machine, and the commit and difference of the source that runs."""
    versions = {"pointssl": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    source = Path(__file__).parent
    return {
        "command": sys.argv,
        "versions": versions,
        "platform": platform.platform(),
        "processes": world.size,
        "device": str(world.device),
        "gpu": torch.cuda.get_device_name() if world.device.type == "cuda" else None,
        "threads": torch.get_num_threads(),
        "git_commit": _git(source, "rev-parse", "HEAD"),
        "git_diff": _git(source, "diff", "HEAD"),
    }


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def read_metrics(run_dir: Path) -> list[dict[str, Any]]:
    """The rows of ``metrics.jsonl``; a line cut off by a crash is left out."""
    rows = []
    try:
        lines = (run_dir / "metrics.jsonl").read_text().splitlines()
    except FileNotFoundError:
        return []
    for line in lines:
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return rows


class RunLog:
    """``config.yaml``, ``environment.json``, ``metrics.jsonl`` and TensorBoard events of a run.

    Args:
        run_dir: its folder.
        config: what was asked.
        world: nothing is written on other ranks than 0.
        epoch: epochs completed. Rows of later ones are of a run that was cut off after its last
            checkpoint, and are dropped.

    Raises:
        UsageError: another process is at work in ``run_dir``.
        UserError: it cannot be written.
    """

    def __init__(self, run_dir: Path, config: Options, world: Process, epoch: int = 0) -> None:
        self.run_dir = run_dir
        self.world = world
        if not world.is_main:
            return
        self._claim = claim(run_dir)
        write_text(run_dir / "config.yaml", to_yaml(config))
        write_json(run_dir / "environment.json", environment(world))
        kept = [row for row in read_metrics(run_dir) if row["epoch"] <= epoch]
        write_text(run_dir / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in kept))
        from torch.utils.tensorboard import SummaryWriter

        self.board = SummaryWriter(str(run_dir / "tensorboard"), purge_step=epoch + 1)

    def log(self, row: dict[str, Any]) -> None:
        """One row, with its ``epoch``, into ``metrics.jsonl`` and TensorBoard."""
        if not self.world.is_main:
            return
        try:
            with open(self.run_dir / "metrics.jsonl", "a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
        except OSError as error:
            raise UserError(
                f"could not write {self.run_dir / 'metrics.jsonl'}: {error.strerror}"
            ) from None
        for name, value in row.items():
            if name != "epoch" and isinstance(value, (int, float)):
                self.board.add_scalar(name, value, row["epoch"])
        self.board.flush()

    def close(self) -> None:
        if self.world.is_main:
            self.board.close()
            if self._claim is not None:
                os.close(self._claim)


def claim(run_dir: Path) -> int | None:
    """Lock a run directory until the descriptor is closed or the process ends, however it ends.

    Two runs in one folder would overwrite each other's checkpoints. None where there are no such
    locks, or no such folder can be made: the first file to be written says why.

    Raises:
        UsageError: another process holds it.
    """
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        folder = os.open(run_dir, os.O_RDONLY)
    except OSError:
        return None
    try:
        if fcntl is not None:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(folder)
        raise UsageError(
            f"another process is training in {run_dir}: wait for it, or give another --run-dir"
        ) from None
    except OSError:  # some network file systems cannot lock
        os.close(folder)
        return None
    return folder
