"""Kernels for GPUs, in Triton. Without a GPU, tests run them in Triton's interpreter."""
