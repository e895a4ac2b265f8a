"""Where the tests of Triton's kernels run: on the GPU, or in the interpreter (see conftest.py)."""

import importlib.util
import os

import pytest
import torch

HAS_GPU = torch.cuda.is_available()
DEVICE = "cuda" if HAS_GPU else "cpu"

if importlib.util.find_spec("triton") is None:
    pytest.skip("Triton is not installed", allow_module_level=True)
assert HAS_GPU or os.environ.get("TRITON_INTERPRET") == "1"
