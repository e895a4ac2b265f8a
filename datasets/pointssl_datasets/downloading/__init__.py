"""Fetching datasets, and unpacking them safely."""
