"""A file of tensors, from whatever program: read without running anything in it."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from pointssl_datasets.base.errors import UserError

FACTS = "pointssl_facts"  # the entry of a safetensors file's metadata that holds ours, as JSON


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
        return _read_pickle(path)
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


def _read_pickle(path: Path) -> Any:
    """A file of ``torch.save``. Old training scripts put their best accuracy there as a NumPy
    number, which is data, not code: such a file is read with those allowed."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        if "numpy" not in str(error) or not hasattr(torch.serialization, "safe_globals"):
            raise
    with _numpy_scalars():
        return torch.load(path, map_location="cpu", weights_only=True)


def _numpy_scalars() -> Any:
    scalar: Any = type(np.float64(0)).__reduce__(np.float64(0))[0]
    names = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
    kinds = {type(np.dtype(kind)) for kind in "?bhilqBHILQefd"}
    return torch.serialization.safe_globals([*((scalar, n) for n in names), np.dtype, *kinds])
