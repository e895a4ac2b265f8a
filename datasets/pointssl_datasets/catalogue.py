"""What is known about each dataset: layout, size, terms of use, where to get it, official counts.

The entry of a dataset stands beside its opener, in the ``ENTRIES`` of its module in ``sets/``. The
module is imported when its entry is looked up.
"""

from collections.abc import Iterator, Mapping
from importlib import import_module

from pointssl_datasets.base.entry import HUGGING_FACE, STANFORD, Archive, Entry
from pointssl_datasets.base.errors import UsageError
from pointssl_datasets.base.resolve import nearest
from pointssl_datasets.sets import DATASETS

__all__ = [
    "CATALOGUE",
    "HUGGING_FACE",
    "STANFORD",
    "Archive",
    "Entry",
    "find_entry",
    "splits_of",
]


class _Catalogue(Mapping[str, Entry]):
    """The entries of all datasets, in the order of ``DATASETS``; each is imported on demand."""

    def __getitem__(self, name: str) -> Entry:
        module, _, _ = DATASETS[name].partition(":")
        entries: Mapping[str, Entry] = getattr(import_module(module), "ENTRIES", {})
        return entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(DATASETS)

    def __len__(self) -> int:
        return len(DATASETS)


CATALOGUE: Mapping[str, Entry] = _Catalogue()
"""By name, for every key of ``DATASETS``."""


def find_entry(name: str) -> Entry:
    """The entry of a dataset.

    Raises:
        UsageError: there is no dataset of that name.
    """
    if name not in CATALOGUE:
        raise UsageError(
            f"unknown dataset {name!r}{nearest(name, list(CATALOGUE)) or '.'} "
            f"Known: {', '.join(CATALOGUE)}."
        )
    return CATALOGUE[name]


def splits_of(name: str) -> tuple[str, ...]:
    """The splits that a dataset may have, without overlaps, in the usual order."""
    entry = CATALOGUE.get(name)
    known = entry.clouds if entry and entry.clouds else ("train", "val", "test")
    return tuple(split for split in known if split != "trainval")
