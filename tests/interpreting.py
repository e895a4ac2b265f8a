"""Import this before anything imports Triton: where there is no GPU its kernels are interpreted."""

import importlib.util
import os
import sys

import pytest
import torch

HAS_GPU = torch.cuda.is_available()
DEVICE = "cuda" if HAS_GPU else "cpu"

if importlib.util.find_spec("triton") is None:
    pytest.skip("Triton is not installed", allow_module_level=True)
if not HAS_GPU:  # Triton looks when a kernel is decorated, at its own ones when it is imported
    assert "triton" not in sys.modules, "something imported Triton before TRITON_INTERPRET was set"
    os.environ["TRITON_INTERPRET"] = "1"
