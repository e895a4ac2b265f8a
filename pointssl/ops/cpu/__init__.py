"""Kernels for CPUs, compiled by numba when they are first used and kept on disk."""
