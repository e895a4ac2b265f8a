"""Which code runs a point operation: plain torch, or kernels for this machine.

Every operation of :mod:`pointssl.ops` is written in plain torch, which runs anywhere and is what
the kernels are tested against. On a CPU numba compiles faster ones, on a GPU Triton; where neither
can run, plain torch does.
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
PLAIN = (Tensor, nn.Parameter)  # others, such as those of a tracer, hold no numbers to compute with

_chosen = "auto"


def backend_for(*tensors: Tensor) -> str:
    """``"torch"``, ``"numba"`` or ``"triton"``: what runs an operation on these tensors.

    The one asked for by :func:`set_backend` if it can, else the fastest that can.
    """
    if _chosen == "torch" or any(type(tensor) not in PLAIN for tensor in tensors):
        return "torch"
    if not torch.compiler.is_compiling() and torch._C._functorch.peek_interpreter_stack():
        return "torch"  # vmap and the like see through torch's operations alone
    on_cpu = all(tensor.device.type == "cpu" for tensor in tensors)
    floats = [tensor.dtype for tensor in tensors if tensor.is_floating_point()]
    if _chosen == "triton" or not on_cpu:
        kinds = {tensor.device.type for tensor in tensors}
        runs = _chosen != "numba" and len(kinds) == 1 and triton_runs(kinds.pop())
        return "triton" if runs else "torch"
    if torch.compiler.is_compiling():  # a graph can't look into machine code on the CPU
        return "torch"
    known = all(dtype in (torch.float32, torch.float64) for dtype in floats)
    return "numba" if known and len(set(floats)) <= 1 and imports("numba") else "torch"


def wants_cluster() -> bool:
    """Whether torch-cluster was asked for, by name."""
    return _chosen == "cluster"


def chosen_backend() -> str:
    """What :func:`set_backend` was last given."""
    return _chosen


def set_backend(name: str) -> None:
    """Run operations by ``name`` from now on, wherever it can; ``"auto"`` is the fastest.

    Raises:
        UsageError: it is not one of :data:`BACKENDS`, or does not import here.
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
    """:func:`set_backend` for a while."""
    before = _chosen
    set_backend(name)
    try:
        yield
    finally:
        set_backend(before)


@torch.compiler.assume_constant_result  # it can't be looked into while a graph is drawn
def triton_runs(device: str) -> bool:
    """Whether Triton's kernels run on devices of that type: on GPUs, elsewhere interpreted."""
    there = device == "cuda" or (device == "cpu" and os.environ.get("TRITON_INTERPRET") == "1")
    return there and imports("triton") and _triton_works(device)


@functools.cache
def _triton_works(device: str) -> bool:
    """Whether a small kernel compiles, starts and gives the right numbers; tried once. Triton needs
    a C compiler and a driver that fits, and where they are missing plain torch runs instead."""
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
    """Whether a module is there and imports; the answer is kept."""
    if importlib.util.find_spec(module) is None:
        return False
    try:
        importlib.import_module(module)
    except Exception:  # a broken binary wheel raises whatever it likes
        return False
    return True
