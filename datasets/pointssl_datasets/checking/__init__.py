"""Checks of a dataset: damaged clouds, duplicates, leakage, wrong axes; and its statistics."""
