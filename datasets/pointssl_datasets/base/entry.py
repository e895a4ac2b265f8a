"""What a dataset's file says about it: layout, size, terms of use, where to get it.

Checksums and sizes are those that others published for the very same archives. Where nobody did,
they are None, and a download records what it received.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

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
