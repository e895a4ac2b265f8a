"""What is known about each dataset: layout, size, terms of use, where to get it, official counts.

The entry of a dataset stands beside its opener, in the ``ENTRIES`` of its module in ``sets/``; it
is imported when somebody looks it up. Checksums and sizes are those that others published for the
very same archives. Where nobody did, they are None, and a download records what it received.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Literal

from pointssl_datasets import DATASETS
from pointssl_datasets.base.errors import UsageError
from pointssl_datasets.base.resolve import nearest

STANFORD = "https://shapenet.cs.stanford.edu/media"
HUGGING_FACE = "https://huggingface.co/datasets"


@dataclass(frozen=True, kw_only=True)
class Archive:
    """One file to download: mirrors in the order in which they are tried."""

    file_name: str
    urls: tuple[str, ...] = ()
    size: int | None = None  # bytes, where it is known
    sha256: str | None = None  # hex, where somebody published it
    md5: str | None = None


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What ``pointssl data list`` shows, ``download`` fetches and ``check`` compares with."""

    title: str  # one line
    layout: str  # files and folders that are expected
    up_axis: str
    classes: int | None = None  # None: any number
    clouds: Mapping[str, int] = field(default_factory=dict)  # official number per split
    by_classes: Mapping[int, Mapping[str, int]] = field(default_factory=dict)
    """The same for a layout that several datasets share, by their number of classes."""
    terms: str = ""  # one or two sentences; shown before a download
    home: str = ""  # the page to read
    gigabytes: float | None = None  # unpacked, about
    origin: Literal["download", "by hand", "generated", "your own"] = "by hand"
    folder: str = ""  # below the data folder, what a download is unpacked to
    archives: tuple[Archive, ...] = ()  # all are needed; none: how to get it is said in ``how``
    others: tuple[Archive, ...] = ()  # further known ones, for --from and --mirror
    how: str = ""  # what to do by hand, or further ways

    def official(self, split: str, classes: int | None = None) -> int | None:
        """Clouds that the original has in ``split``, None where no number is official."""
        counts = self.by_classes.get(classes, {}) if classes is not None else {}
        return counts.get(split, self.clouds.get(split))


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
    """The splits that a dataset may have, none of them part of another, in the usual order."""
    entry = CATALOGUE.get(name)
    known = entry.clouds if entry and entry.clouds else ("train", "val", "test")
    return tuple(split for split in known if split != "trainval")
