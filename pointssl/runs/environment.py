"""Where a command ran: versions, machine, and the state of the source."""

import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

import torch

from pointssl.version import __version__

PACKAGES = ("torch", "numpy", "scipy", "scikit-learn", "h5py", "pillow", "trimesh", "safetensors")


class Process(Protocol):
    """What a run folder must know of the processes that work together; a
    :class:`pointssl.engine.distributed.World` is one."""

    @property
    def is_main(self) -> bool: ...

    @property
    def size(self) -> int: ...

    @property
    def device(self) -> torch.device: ...


def environment(process: Process) -> dict[str, Any]:
    """Versions, machine, and the commit and difference of the source that runs."""
    versions = {"pointssl": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    source = Path(__file__).parent
    device = process.device
    return {
        "command": sys.argv,
        "versions": versions,
        "platform": platform.platform(),
        "processes": process.size,
        "device": str(device),
        "gpu": torch.cuda.get_device_name() if device.type == "cuda" else None,
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
