"""The version of pointssl."""

__version__ = "0.1.0"
