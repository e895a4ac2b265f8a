"""The former place of :class:`~pointssl.backbones.base.Features`, for code that imports it."""

from pointssl.backbones.base import Features

__all__ = ["Features"]
