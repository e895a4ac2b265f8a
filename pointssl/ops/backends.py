"""Choice of the backend that runs a point operation: plain torch, or compiled kernels.

Every operation of :mod:`pointssl.ops` has a version in plain torch, which runs anywhere and which
the kernels are tested against. Faster kernels are compiled by numba on a CPU and by Triton on a
GPU; where neither can run, plain torch does.
"""

import contextlib
import functools
import importlib
import importlib.util
import os
import warnings
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from pointssl_datasets.base.errors import UsageError

BACKENDS = ("auto", "torch", "numba", "triton", "cluster")
PLAIN = (Tensor, nn.Parameter)  # other subclasses, such as a tracer's, hold no data

_chosen = "auto"


def backend_for(*tensors: Tensor) -> str:
    """Return the backend for these tensors: ``"torch"``, ``"numba"`` or ``"triton"``.

    It is the one selected by :func:`set_backend` if that can run, else the fastest one that can.
    """
    if _chosen == "torch" or any(type(tensor) not in PLAIN for tensor in tensors):
        return "torch"
    if not torch.compiler.is_compiling() and torch._C._functorch.peek_interpreter_stack():
        return "torch"  # vmap and other functorch transforms need torch's own operations
    on_cpu = all(tensor.device.type == "cpu" for tensor in tensors)
    floats = [tensor.dtype for tensor in tensors if tensor.is_floating_point()]
    if _chosen == "triton" or not on_cpu:
        kinds = {tensor.device.type for tensor in tensors}
        runs = _chosen != "numba" and len(kinds) == 1 and triton_runs(kinds.pop())
        return "triton" if runs else "torch"
    if torch.compiler.is_compiling():  # numba's kernels can't be traced
        return "torch"
    known = all(dtype in (torch.float32, torch.float64) for dtype in floats)
    return "numba" if known and len(set(floats)) <= 1 and imports("numba") else "torch"


def wants_cluster() -> bool:
    """Return whether torch-cluster was selected."""
    return _chosen == "cluster"


def chosen_backend() -> str:
    """Return the name last passed to :func:`set_backend`."""
    return _chosen


def set_backend(name: str) -> None:
    """Select the backend for all following operations; ``"auto"`` takes the fastest.

    Raises:
        UsageError: it is not one of :data:`BACKENDS`, or can't be imported.
    """
    global _chosen
    if name not in BACKENDS:
        raise UsageError(f"backend {name!r}: expected one of {', '.join(BACKENDS)}")
    module = {"cluster": "torch_cluster"}.get(name, name)
    if name != "auto" and not imports(module):
        raise UsageError(
            f"backend {name!r}: the module {module} does not import here; `pointssl doctor` shows "
            "what does, and auto takes the fastest of it"
        )
    _chosen = name


@contextlib.contextmanager
def using(name: str) -> Iterator[None]:
    """Select a backend within a ``with`` block."""
    before = _chosen
    set_backend(name)
    try:
        yield
    finally:
        set_backend(before)


@torch.compiler.assume_constant_result  # it can't be traced
def triton_runs(device: str) -> bool:
    """Return whether Triton's kernels run on this device type: GPUs, and CPUs if interpreted."""
    there = device == "cuda" or (device == "cpu" and os.environ.get("TRITON_INTERPRET") == "1")
    return there and imports("triton") and _triton_works(device)


@functools.cache
def _triton_works(device: str) -> bool:
    """Check once whether a small kernel compiles, runs and gives the right numbers.

    Triton needs a C compiler and a matching driver; without them plain torch runs instead.
    """
    try:
        from pointssl.ops.gpu.gather import neighbour_max

        values = torch.arange(8.0, device=device).view(4, 2)
        idx = torch.tensor([[0, 1], [3, 2]], device=device)
        best, _ = neighbour_max(values, idx)
        if best.tolist() == [[2.0, 3.0], [6.0, 7.0]]:
            return True
        reason = "it gives wrong numbers"
    except Exception as error:  # whatever a compiler or driver raises
        reason = f"{type(error).__name__}: {error}".splitlines()[0][:200]
    warnings.warn(
        f"Triton's kernels do not run on {device}, plain torch does instead, more slowly: {reason}",
        stacklevel=2,
    )
    return False


@functools.cache
def imports(module: str) -> bool:
    """Return whether a module is installed and can be imported; the answer is cached."""
    if importlib.util.find_spec(module) is None:
        return False
    try:
        importlib.import_module(module)
    except Exception:  # a broken binary wheel may raise anything
        return False
    return True
