"""What is recorded of a run, and on which machine it holds to the last bit."""

import hashlib
import json
import platform
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
import torch
import yaml
from torch import Tensor

RECORDED = Path(__file__).parent / "recorded"

Json = dict[str, Any]


def read(name: str) -> Any:
    """A recording: recorded/NAME.json."""
    return json.loads((RECORDED / f"{name}.json").read_text(encoding="utf-8"))


def write(name: str, content: Any) -> None:
    """Keeps a recording, one entry a line at the first two levels."""
    path = RECORDED / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_lines(content, 2) + "\n", encoding="utf-8")


def _lines(content: Any, depth: int, indent: str = "") -> str:
    if not depth or not isinstance(content, dict) or not content:
        return json.dumps(content)
    inner = indent + "  "
    rows = [f"{inner}{json.dumps(k)}: {_lines(v, depth - 1, inner)}" for k, v in content.items()]
    return "{\n" + ",\n".join(rows) + f"\n{indent}}}"


# The machine


@cache
def signature() -> Json:
    """Everything that the last bits of a CPU's results depend on here."""
    try:
        found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    except OSError:
        found = None
    return {
        "torch": torch.__version__,
        "numpy": np.__version__,
        "scikit-learn": sklearn.__version__,
        "capability": torch.backends.cpu.get_cpu_capability(),
        "processor": found[1] if found else platform.processor() or platform.machine(),
    }


def machine() -> str:
    """The name of the recordings that hold for this signature alone."""
    text = json.dumps(signature(), sort_keys=True)
    return f"machines/{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def of_this_machine() -> Json | None:
    """What a machine of this signature computed, or None where none has recorded."""
    if not (RECORDED / f"{machine()}.json").exists():
        return None
    content: Json = read(machine())
    return content if content["signature"] == signature() else None


def of_any_machine() -> Json:
    """What some machine computed: this one, if it has."""
    first = sorted((RECORDED / "machines").glob("*.json"))[0]
    return of_this_machine() or read(f"machines/{first.stem}")


# Tensors


def tensors_of(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """The weights of a checkpoint by name: of the encoder, and of the method or task."""
    return {
        f"{part}.{name}": value
        for part in ("encoder", "method")
        for name, value in checkpoint.get(part, {}).items()
    }


def sha256(tensors: Mapping[str, Tensor]) -> str:
    """Of names, types, shapes and bytes, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def fingerprint(tensors: Mapping[str, Tensor]) -> dict[str, list[Any]]:
    """Name -> shape, mean and standard deviation; of a method's encoder under the method alone."""
    found = {}
    for name, value in sorted(tensors.items()):
        if f"method.{name}" in tensors:
            continue
        value = value.double()
        mean, std = value.mean().item(), value.std(correction=0).item()
        found[name] = [list(value.shape), round(mean, 8), round(std, 8)]
    return found


# Keys and numbers

KINDS = {bool: "bool", int: "number", float: "number", str: "text", type(None): "null"}


def leaves(content: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """``(path, value)`` of what is neither mapping nor list; places in lists are numbers."""
    if isinstance(content, dict):
        for key, value in content.items():
            yield from leaves(value, f"{path}/{key}")
    elif isinstance(content, list | tuple):
        for place, value in enumerate(content):
            yield from leaves(value, f"{path}/{place}")
    else:
        yield path, content


def kinds(content: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """``(path, kind)`` of everything; all entries of a list share the path ``LIST/[]``."""
    if isinstance(content, dict):
        yield path, "mapping"
        for key, value in content.items():
            yield from kinds(value, f"{path}/{key}")
    elif isinstance(content, list | tuple):
        yield path, "list"
        for value in content:
            yield from kinds(value, f"{path}/[]")
    elif isinstance(content, Tensor):
        yield path, f"tensor {tuple(content.shape)}"
    else:
        yield path, KINDS[type(content)]


def keys(content: Any) -> dict[str, list[str]]:
    """Path -> the kinds that were found there."""
    found: dict[str, set[str]] = {}
    for path, kind in kinds(content):
        found.setdefault(path, set()).add(kind)
    return {path: sorted(several) for path, several in found.items()}


def without_tensors(content: Any) -> Any:
    """A checkpoint without what test_tiny_runs.py looks at, and without the optimiser's inside."""
    if not isinstance(content, dict) or "format" not in content:
        return content
    inner = [key for key in ("encoder", "method", "optimizer", "random") if key in content]
    kept = {**content, **{key: {} for key in inner}}
    if "best" in content.get("kept", {}):
        kept["kept"] = {"best": {**content["kept"]["best"], "weights": {}}}
    return kept


def numbers(content: Any) -> dict[str, Any]:
    """Path -> number, true or false: what must be the same. Texts may be worded anew."""
    return {p: v for p, v in leaves(content) if isinstance(v, int | float | bool)}


# Files of a run


def documents(folder: Path) -> dict[str, Any]:
    """File -> content, of what a run wrote as YAML, JSON, lines of JSON, arrays or checkpoints."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.suffix == ".yaml":
            found[name] = yaml.safe_load(path.read_text())
        elif path.suffix == ".json":
            found[name] = json.loads(path.read_text())
        elif path.suffix == ".jsonl":
            found[name] = [json.loads(line) for line in path.read_text().splitlines()]
        elif path.suffix == ".pt":
            found[name] = torch.load(path, weights_only=True)
        elif path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                found[name] = {key: str(arrays[key].dtype) for key in arrays.files}
        elif path.suffix == ".csv":
            found[name] = dict.fromkeys(path.read_text().splitlines()[0].split(","), "")
    return found


def features(folder: Path) -> dict[str, Any]:
    """File -> what `extract` wrote as features."""
    found = {}
    for path in sorted(folder.glob("*.npz")):
        with np.load(path, allow_pickle=False) as arrays:
            found[path.name] = arrays["features"]
    return found


def names_of_files(folder: Path) -> list[str]:
    """All that a run wrote, but TensorBoard's files, which are called after the time."""
    paths = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(path for path in paths if "tensorboard/" not in path)
