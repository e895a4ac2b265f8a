"""Features on disk, keyed by everything that they depend on.

A cache is an optimisation: whatever is wrong with it costs time and one line, never a result.
"""

import hashlib
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from pointssl_datasets.base.errors import UserError
from pointssl_datasets.base.writing import write_bytes

# Raise it whenever the same facts would give other features.
FEATURE_VERSION = 1


def weights_hash(state_dict: Mapping[str, torch.Tensor]) -> str:
    """sha256 (hex) of names, dtypes, shapes and bytes of all tensors, in whatever order they come.

    Raises:
        TypeError: an entry is no tensor.
    """
    for name, tensor in state_dict.items():
        if not isinstance(tensor, torch.Tensor):
            raise TypeError(f"{name!r} in the state dict is no tensor: {type(tensor).__name__}")
    return _content_hash(
        # Seen as bytes, as NumPy has no bfloat16.
        (name, str(t.dtype), t.shape, t.detach().cpu().contiguous().reshape(-1).view(torch.uint8))
        for name, t in state_dict.items()
    )


def _arrays_hash(arrays: Mapping[str, NDArray[Any]]) -> str:
    return _content_hash((name, str(a.dtype), a.shape, a) for name, a in arrays.items())


def _content_hash(entries: Iterable[tuple[str, str, Iterable[int], Any]]) -> str:
    digest = hashlib.sha256()
    for name, dtype, shape, values in sorted(entries, key=lambda entry: entry[0]):
        # The line gives the number of bytes that follow, so no two contents read the same.
        digest.update(json.dumps([name, dtype, list(shape)]).encode() + b"\n")
        digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()


def _warn(line: str) -> None:
    print(line, file=sys.stderr)


class FeatureCache:
    """Named arrays in ``root``, one file per set of facts.

    Writers use a temporary file and a rename, so any number of processes may share ``root``.

    Args:
        root: folder; made when something is saved.
        say: takes a line for the user when the cache can't be read or written.
    """

    def __init__(self, root: Path, say: Callable[[str], None] = _warn) -> None:
        self.root = root
        self.say = say

    def path(self, facts: Mapping[str, Any]) -> Path:
        """The file for ``facts``: its name is the sha256 of them."""
        key = hashlib.sha256(_canonical(facts).encode()).hexdigest()
        return self.root / f"{key}.safetensors"

    def load(self, facts: Mapping[str, Any]) -> dict[str, NDArray[Any]] | None:
        """The arrays saved under exactly ``facts``, or None.

        A file that is damaged, or not what its name says, is a miss and a line for the user.
        """
        path = self.path(facts)
        try:
            if not path.exists():
                return None
            with safe_open(path, framework="numpy") as file:
                metadata = file.metadata() or {}
                if metadata.get("facts") != _canonical(facts):
                    raise ValueError("it holds other features")
                arrays = {name: np.array(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118
            if metadata.get("sha256") != _arrays_hash(arrays):
                raise ValueError("its content has changed since it was written")
        except (OSError, ValueError, TypeError, SafetensorError) as error:
            self.say(f"feature cache {path}: not used, features are computed again: {_line(error)}")
            return None
        return arrays

    def save(self, facts: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
        """Keep ``arrays`` under ``facts``; a folder that can't be written costs only a line.

        Raises:
            TypeError, ValueError: ``facts`` are not plain values.
        """
        path = self.path(facts)
        plain = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        for name, array in arrays.items():
            plain[name] = plain[name].reshape(array.shape)  # ascontiguousarray makes () into (1,)
        metadata = {"facts": _canonical(facts), "sha256": _arrays_hash(plain)}
        try:
            write_bytes(path, save(plain, metadata))
        except UserError as error:
            self.say(f"feature cache: not written, results are not affected: {_line(error)}")


def _canonical(facts: Mapping[str, Any]) -> str:
    """One text for equal facts: sorted keys, no spaces, plain values only."""
    everything = {**facts, "feature_version": FEATURE_VERSION}
    return json.dumps(everything, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _line(error: Exception) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(str(text).split())
