"""`pointssl doctor`: what is installed, found and writable here, for a question about a failure."""

import importlib
import importlib.metadata
import importlib.util
import json
import os
import platform
from pathlib import Path
from typing import Any

from pointssl.config.tools import DoctorConfig
from pointssl.recipes.data.list import found_here
from pointssl.version import __version__
from pointssl_datasets.base.errors import UserError
from pointssl_datasets.base.paths import cache_root, data_root

# What is imported -> what is installed.
REQUIRED = {
    "torch": "torch",
    "numpy": "numpy",
    "scipy": "scipy",
    "sklearn": "scikit-learn",
    "h5py": "h5py",
    "typer": "typer",
    "tqdm": "tqdm",
    "tensorboard": "tensorboard",
    "yaml": "pyyaml",
    "PIL": "pillow",
    "trimesh": "trimesh",
    "safetensors": "safetensors",
    "matplotlib": "matplotlib",
    "numba": "numba",
    "laspy": "laspy",
}
OPTIONAL = ("triton", "torch_cluster")  # compiled kernels that may be at hand


def run(config: DoctorConfig) -> dict[str, Any]:
    """Plain facts by section, ready to be printed or dumped as JSON. Never raises for what is not
    there: an absent package, dataset or folder is an answer.
    """
    versions = {
        "pointssl": __version__,
        "python": platform.python_version(),
        **{package: _version(module, package) for module, package in REQUIRED.items()},
    }
    missing = [package for package, version in versions.items() if not version[0].isdigit()]
    return {
        "versions": versions,
        "machine": _machine(),
        "kernels": {
            **_kernels(),
            **{module: _version(module, module.replace("_", "-")) for module in OPTIONAL},
        },
        "data": _data(config.data_root),
        "cache": _cache(cache_root(config.cache_dir)),
        "missing": [f"{package}: pip install {package}" for package in missing],
    }


def main(config: DoctorConfig) -> None:
    """Print what :func:`run` finds, as text or as JSON."""
    found = run(config)
    print(json.dumps(found, indent=2) if config.json else as_text(found))


def as_text(facts: dict[str, Any]) -> str:
    """A section per entry of ``facts``: mappings as aligned lines, lists as bullets."""
    lines: list[str] = []
    for title, content in facts.items():
        lines += ["", title.replace("_", " ").capitalize()]
        if isinstance(content, dict):
            width = max(map(len, content), default=0)
            lines += [f"  {key:<{width}}  {value}" for key, value in content.items()]
        else:
            lines += [f"  - {item}" for item in content] or ["  nothing"]
    return "\n".join(lines[1:])


def _version(module: str, package: str) -> str:
    """The version if the module really imports, else what is the matter."""
    if importlib.util.find_spec(module) is None:
        return "not installed"
    try:
        importlib.import_module(module)
    except Exception as error:  # a broken binary wheel raises whatever it likes
        first_line = str(error).partition("\n")[0]
        return f"does not import: {type(error).__name__}: {first_line}"
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "? (imports, version unknown)"


def _kernels() -> dict[str, str]:
    """What ``--kernels auto`` takes on each device."""
    try:
        import torch
    except ImportError:
        return {}
    from pointssl.ops.backends import backend_for, imports

    on_gpu = "triton" if imports("triton") else "torch"
    return {
        "CPU, float32": backend_for(torch.zeros(1)),
        "GPU": on_gpu if torch.cuda.is_available() else f"no GPU ({on_gpu}, if there were one)",
    }


def _machine() -> dict[str, str]:
    """Processors, threads, GPUs, and how processes can talk to each other."""
    facts = {"system": platform.platform(), "cores": str(_cores())}
    try:
        import torch
        from torch import distributed
    except Exception:  # reported under versions
        return facts
    facts["threads of torch"] = str(torch.get_num_threads())
    if torch.cuda.is_available():
        facts["CUDA"] = f"{torch.version.cuda or torch.version.hip}"
        for index in range(torch.cuda.device_count()):
            gpu = torch.cuda.get_device_properties(index)
            memory = gpu.total_memory / 2**30
            facts[f"cuda:{index}"] = (
                f"{gpu.name}, {memory:.1f} GiB, compute capability {gpu.major}.{gpu.minor}"
            )
    else:
        built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "a CPU build"
        facts["CUDA"] = f"no CUDA device (torch is {built})"
    names = ("gloo", "nccl", "mpi")
    found = [n for n in names if distributed.is_available() and _has_backend(distributed, n)]
    facts["distributed"] = ", ".join(found) or "not available"
    return facts


def _cores() -> int:
    """Cores that this process may use, which in a container are fewer than the machine has."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS, Windows
        return os.cpu_count() or 1


def _has_backend(distributed: Any, name: str) -> bool:
    return bool(getattr(distributed, f"is_{name}_available")())


def _data(named: Path | None) -> dict[str, str]:
    """Which datasets' layouts lie in the folder that commands would read."""
    try:
        root = data_root(named, "data")
    except UserError as error:
        return {"folder": str(error).removeprefix("data: ")}
    return {"folder": str(root), **found_here(root)}


def _cache(folder: Path) -> dict[str, str]:
    """Where the cache lies, how much it holds, whether it can be written."""
    above = folder
    while not above.exists() and above != above.parent:
        above = above.parent
    writable = above.is_dir() and os.access(above, os.W_OK | os.X_OK)
    if folder.is_dir():
        # A file that another process removes meanwhile counts nothing.
        size = sum(_size(path) for path in folder.rglob("*"))
        holds = f"{size / 2**20:.1f} MiB"
    else:
        holds = "nothing yet"
    return {
        "folder": str(folder),
        "holds": holds,
        "writable": "yes" if writable else f"no: {above} can't be written; use --cache-dir",
    }


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0
