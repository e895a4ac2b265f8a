"""Alias of :class:`~pointssl.backbones.base.Features`, for code that imports it from here."""

from pointssl.backbones.base import Features

__all__ = ["Features"]
