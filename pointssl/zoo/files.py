"""A file of tensors, from whatever program: read without running anything in it."""

import contextlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from pointssl_datasets.errors import UserError

FACTS = "pointssl_facts"  # the entry of a safetensors file's metadata that holds ours, as JSON
NESTS = ("state_dict", "model_state_dict", "base_model", "model", "net", "network", "encoder")
DEEPEST = 4  # dicts around the tensors
WRAPPERS = ("module", "_orig_mod")  # what DataParallel, DDP and torch.compile put into keys


def read_file(path: Path) -> Any:
    """What the file holds, on the CPU: tensors and plain values.

    ``.safetensors`` by its suffix; anything else as a file of ``torch.save``, old or new.

    Raises:
        UserError: missing, truncated, of another kind, or in need of a class to be read.
    """
    if path.is_dir():
        last = path / "checkpoints" / "last.pt"
        example = f", e.g. {last}" if last.exists() else ""
        raise UserError(f"{path} is a folder: give the file{example}")
    try:
        with open(path, "rb"):
            pass
    except FileNotFoundError:
        raise UserError(f"no checkpoint at {path}: check the path") from None
    except OSError as error:
        raise UserError(f"{path} is not a readable checkpoint: {error.strerror}") from None
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    try:
        with _numpy_scalars():
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # what is no checkpoint fails in whatever way its bytes lead to
        needed = re.search(r"GLOBAL ([\w.]+)", str(error))
        if needed:
            raise UserError(
                f"{path} holds Python objects ({needed[1]}), which could run code when loaded, and "
                "was refused: expected tensors and plain values only. If you trust it, open it in "
                "the project that wrote it and save the tensors alone: "
                "torch.save(model.state_dict(), ...)"
            ) from None
        raise UserError(
            f"{path} is not a readable checkpoint: truncated, or of another kind?"
        ) from None


def _read_safetensors(path: Path) -> Any:
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            facts = (file.metadata() or {}).get(FACTS)
        if facts is None:
            return tensors
        content = json.loads(facts)
        return {"format": content["format"], "encoder": tensors, "facts": content["facts"]}
    except (SafetensorError, ValueError, KeyError, TypeError, OSError, RecursionError):
        raise UserError(
            f"{path} is not a readable safetensors file: truncated, or of another kind?"
        ) from None


@contextlib.contextmanager
def _numpy_scalars() -> Any:
    """Old training scripts save their best accuracy as a NumPy number: data, not code."""
    allow = getattr(torch.serialization, "safe_globals", None)
    if allow is None:
        yield
        return
    scalar = type(np.float64(0)).__reduce__(np.float64(0))[0]
    names = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
    kinds = {type(np.dtype(kind)) for kind in "?bhilqBHILQefd"}
    with allow([*((scalar, name) for name in names), np.dtype, *kinds]):
        yield


def unwrapped(content: Any, path: Path) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The named tensors in ``content``, keys without what wrappers put into them, and the names
    under which they lay.

    Raises:
        UserError: there are no named tensors.
    """
    nests: list[str] = []
    while isinstance(content, Mapping):
        tensors = {str(k): v for k, v in content.items() if isinstance(v, Tensor)}
        seen: set[int] = set()
        deepest = DEEPEST - len(nests)
        inner = next((n for n in NESTS if _holds_tensors(content.get(n), deepest, seen)), None)
        if inner and len(tensors) < len(content[inner]):
            nests.append(inner)
            content = content[inner]
            continue
        if tensors:
            return {_without_wrappers(key): value for key, value in tensors.items()}, tuple(nests)
        break
    found = list(content)[:4] if isinstance(content, Mapping) else [type(content).__name__]
    raise UserError(
        f"{path} holds no named tensors: expected a state dict, possibly under one of "
        f"{', '.join(NESTS)}; found {', '.join(map(str, found)) or 'nothing'}"
    )


def _holds_tensors(value: Any, deepest: int, seen: set[int]) -> bool:
    """A state dict, or at most ``deepest - 1`` dicts around one; none that was looked at before: a
    file can hold one dict in many places, and within itself."""
    if not isinstance(value, Mapping) or deepest < 1 or id(value) in seen:
        return False
    seen.add(id(value))
    return any(isinstance(v, Tensor) for v in value.values()) or any(
        _holds_tensors(value.get(name), deepest - 1, seen) for name in NESTS
    )


def _without_wrappers(key: str) -> str:
    return ".".join(part for part in key.split(".") if part not in WRAPPERS)
