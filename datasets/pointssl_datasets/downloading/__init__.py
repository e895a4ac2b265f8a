"""Downloading datasets and unpacking them safely."""
