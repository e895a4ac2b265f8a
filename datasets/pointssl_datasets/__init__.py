"""Datasets of point clouds, with or without images.

``load_dataset("modelnet40", root, "train", points=1024)`` finds, packs and opens one split. The
table of all datasets is in :mod:`pointssl_datasets.sets`.
"""

from typing import TYPE_CHECKING, Any

from pointssl_datasets.sets import DATASETS, GENERATED

if TYPE_CHECKING:
    from pointssl_datasets.serving.dataset import load_dataset

__all__ = ["DATASETS", "GENERATED", "load_dataset"]


def __getattr__(name: str) -> Any:
    # with what it imports, torch; the names of the datasets must not wait for that
    if name == "load_dataset":
        from pointssl_datasets.serving.dataset import load_dataset

        return load_dataset
    raise AttributeError(f"module 'pointssl_datasets' has no attribute {name!r}")
