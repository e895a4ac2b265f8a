"""Fixtures for every test."""

import os

import pytest
import torch

# Kernels for GPUs run in Triton's interpreter where there is none; Triton reads it when a kernel is
# decorated.
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")


@pytest.fixture(params=["torch", "numba"])
def backend(request):
    """Once by plain torch, once by the kernels for CPUs: ``pytest.mark.usefixtures("backend")``."""
    from pointssl.ops.backends import using

    with using(request.param):
        yield request.param
