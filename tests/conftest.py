"""Fixtures for every test."""

import os

# Read when torch, NumPy and scikit-learn load their libraries, so before any of them is imported.
# The tensors of the tests are small: on two threads most of the time is spent waiting for the other
# one, busily, which takes the cores from whatever else runs. Tests of threads ask for more.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import pytest
import torch

# Kernels for GPUs run in Triton's interpreter where there is none; Triton reads it when a kernel is
# decorated.
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")


@pytest.fixture(autouse=True)
def one_thread():
    """A command without ``--threads`` takes all cores, and leaves it at that."""
    torch.set_num_threads(1)


@pytest.fixture(params=["torch", "numba"])
def backend(request, one_thread):
    """Once by plain torch, once by the kernels for CPUs: ``pytest.mark.usefixtures("backend")``.

    The kernels share their work between two threads.
    """
    from pointssl.ops.backends import using

    torch.set_num_threads(2 if request.param == "numba" else 1)
    with using(request.param):
        yield request.param
