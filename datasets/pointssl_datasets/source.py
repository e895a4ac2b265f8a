"""The former module of :class:`~pointssl_datasets.base.source.Source`, for code that imports it."""

from pointssl_datasets.base.source import Cloud, Source

__all__ = ["Cloud", "Source"]
