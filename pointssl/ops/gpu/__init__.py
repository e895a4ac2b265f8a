"""Kernels for GPUs, in Triton. Where there is no GPU, Triton's interpreter runs them for tests."""
