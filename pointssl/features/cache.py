"""A cache of features on disk, keyed by everything that they depend on.

A cache is an optimisation: if something is wrong with it, that costs time and one line of output,
but never a result.
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

# Raise it whenever the same key would give other features.
FEATURE_VERSION = 1


def weights_hash(state_dict: Mapping[str, torch.Tensor]) -> str:
    """sha256 (hex) of names, dtypes, shapes and bytes of all tensors, in any order.

    Raises:
        TypeError: an entry is not a tensor.
    """
    for name, tensor in state_dict.items():
        if not isinstance(tensor, torch.Tensor):
            raise TypeError(f"{name!r} in the state dict is not a tensor: {type(tensor).__name__}")
    return _content_hash(
        # As bytes, because NumPy has no bfloat16.
        (name, str(t.dtype), t.shape, t.detach().cpu().contiguous().reshape(-1).view(torch.uint8))
        for name, t in state_dict.items()
    )


def _arrays_hash(arrays: Mapping[str, NDArray[Any]]) -> str:
    return _content_hash((name, str(a.dtype), a.shape, a) for name, a in arrays.items())


def _content_hash(entries: Iterable[tuple[str, str, Iterable[int], Any]]) -> str:
    digest = hashlib.sha256()
    for name, dtype, shape, values in sorted(entries, key=lambda entry: entry[0]):
        # The line tells how many bytes follow, so two different contents never read the same.
        digest.update(json.dumps([name, dtype, list(shape)]).encode() + b"\n")
        digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()


def _warn(line: str) -> None:
    print(line, file=sys.stderr)


class FeatureCache:
    """Named arrays in the folder ``root``, one file for each key.

    A key is a dict of plain values. Files are written beside and renamed, so any number of
    processes may share ``root``.

    Args:
        root: created when something is saved.
        say: takes a line for the user when the cache can't be read or written.
    """

    def __init__(self, root: Path, say: Callable[[str], None] = _warn) -> None:
        self.root = root
        self.say = say

    def path(self, facts: Mapping[str, Any]) -> Path:
        """The file for ``facts``, the key: its name is their sha256."""
        digest = hashlib.sha256(_canonical(facts).encode()).hexdigest()
        return self.root / f"{digest}.safetensors"

    def load(self, facts: Mapping[str, Any]) -> dict[str, NDArray[Any]] | None:
        """The arrays saved under exactly this key, or None.

        A file that is damaged, or holds something else than its name says, is a miss, and the user
        gets a line about it.
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
        """Saves ``arrays`` under this key. If the folder can't be written, the user gets a line.

        Raises:
            TypeError, ValueError: the key has values that are not plain.
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
    """The key as text, the same for equal keys: sorted names, no spaces, plain values only."""
    everything = {**facts, "feature_version": FEATURE_VERSION}
    return json.dumps(everything, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _line(error: Exception) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(str(text).split())
