"""What the kernels share: on which device they start, and in which type they add up."""

import contextlib
import os
from collections.abc import Iterator

import torch
import triton
import triton.language as tl
from torch import Tensor

INTERPRETED = os.environ.get("TRITON_INTERPRET", "0") == "1"  # as when the kernels were decorated
WIDTHS = {torch.float64: tl.float64}  # others add up in float32


def sum_type(dtype: torch.dtype) -> tl.dtype:
    """In which type numbers of that type are added up."""
    return WIDTHS.get(dtype, tl.float32)


def factor_type(dtype: torch.dtype) -> tl.dtype:
    """In which type matrices are multiplied; the interpreter can't multiply bfloat16."""
    return tl.bfloat16 if dtype == torch.bfloat16 and not INTERPRETED else sum_type(dtype)


@contextlib.contextmanager
def device_of(tensor: Tensor) -> Iterator[None]:
    """Triton starts kernels on the current device, which is not always that of the tensors."""
    with torch.cuda.device(tensor.device) if tensor.is_cuda else contextlib.nullcontext():
        yield


def power_of_two(count: int, least: int = 1) -> int:
    """The smallest one that is not below ``count`` and ``least``."""
    return int(triton.next_power_of_2(max(count, least)))


def blocks(count: int, size: int) -> int:
    """How many blocks of that size hold so many."""
    return -(-count // size)
