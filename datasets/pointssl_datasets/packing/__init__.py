"""Datasets as memory-mapped arrays, made once."""
