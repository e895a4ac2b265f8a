"""Rows of HDF5 files, read a block at a time."""

import os
from functools import lru_cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from pointssl_datasets.base.errors import DataError

ROWS = 64  # of a block: a few MB


def read_row(path: Path, keys: tuple[str, ...], row: int) -> tuple[NDArray[Any], ...]:
    """Row ``row`` of each of the datasets ``keys``; fast if rows are read in order.

    Raises:
        DataError: the file is truncated or damaged.
    """
    try:
        changed = os.stat(path).st_mtime_ns
        block = _block(path, keys, row - row % ROWS, changed)
    except (OSError, RuntimeError, KeyError) as error:
        raise damaged(path, error) from None
    return tuple(np.array(values[row % ROWS]) for values in block)  # copies: the block is cached


@lru_cache(maxsize=2)
def _block(path: Path, keys: tuple[str, ...], start: int, _: int) -> tuple[NDArray[Any], ...]:
    with h5py.File(path, "r") as file:
        return tuple(np.asarray(file[key][start : start + ROWS]) for key in keys)


def damaged(path: Path, error: Exception) -> DataError:
    """The error to raise after h5py has failed."""
    reason = " ".join(str(error).split())
    return DataError(
        f"{path}: truncated or damaged HDF5 ({reason}). Download it again, or check its size."
    )
