"""Shared helpers of the kernels: launch device, block sizes and accumulation dtypes."""

import contextlib
import os
from collections.abc import Iterator

import torch
import triton
import triton.language as tl
from torch import Tensor

INTERPRETED = os.environ.get("TRITON_INTERPRET", "0") == "1"  # read when kernels are decorated
WIDTHS = {torch.float64: tl.float64}  # other dtypes accumulate in float32


def sum_type(dtype: torch.dtype) -> tl.dtype:
    """Return the dtype in which numbers of ``dtype`` are accumulated."""
    return WIDTHS.get(dtype, tl.float32)


def factor_type(dtype: torch.dtype) -> tl.dtype:
    """Return the dtype of matrix products' factors; the interpreter can't multiply bfloat16."""
    return tl.bfloat16 if dtype == torch.bfloat16 and not INTERPRETED else sum_type(dtype)


@contextlib.contextmanager
def device_of(tensor: Tensor) -> Iterator[None]:
    """Make the tensor's device current, as Triton launches kernels on the current device."""
    with torch.cuda.device(tensor.device) if tensor.is_cuda else contextlib.nullcontext():
        yield


def power_of_two(count: int, least: int = 1) -> int:
    """Return the smallest power of two that is at least ``count`` and ``least``."""
    return int(triton.next_power_of_2(max(count, least)))


def blocks(count: int, size: int) -> int:
    """Return the number of blocks of ``size`` that cover ``count``."""
    return -(-count // size)
