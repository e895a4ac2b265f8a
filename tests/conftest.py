"""Fixtures for every test."""

import pytest


@pytest.fixture(params=["torch", "numba"])
def backend(request):
    """Once by plain torch, once by the kernels for CPUs: ``pytest.mark.usefixtures("backend")``."""
    from pointssl.ops.backends import using

    with using(request.param):
        yield request.param
