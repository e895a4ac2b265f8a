"""The catalogue entry of a dataset: layout, size, terms of use, where to get it.

Checksums and sizes are those that others published for the very same archives. Where there are
none, they are None, and a download records what it received.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

STANFORD = "https://shapenet.cs.stanford.edu/media"
HUGGING_FACE = "https://huggingface.co/datasets"


@dataclass(frozen=True, kw_only=True)
class Archive:
    """One file to download."""

    file_name: str
    urls: tuple[str, ...] = ()  # mirrors, in the order in which they are tried
    size: int | None = None  # bytes, if known
    sha256: str | None = None  # hex, if published
    md5: str | None = None  # hex, if published


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What ``pointssl data list`` shows, ``download`` fetches and ``check`` compares with."""

    title: str  # one line
    layout: str  # the expected files and folders
    up_axis: str  # in the files
    classes: int | None = None  # None: any number
    clouds: Mapping[str, int] = field(default_factory=dict)  # split -> official number of clouds
    by_classes: Mapping[int, Mapping[str, int]] = field(default_factory=dict)
    """Number of classes -> ``clouds``, for a layout that several datasets share."""
    terms: str = ""  # of use, in one or two sentences; shown before a download
    home: str = ""  # address of the dataset's page
    gigabytes: float | None = None  # approximate size when unpacked
    origin: Literal["download", "by hand", "generated", "your own"] = "by hand"
    folder: str = ""  # where a download is unpacked, relative to the data folder
    archives: tuple[Archive, ...] = ()  # all are needed; if there are none, ``how`` explains
    others: tuple[Archive, ...] = ()  # further known archives, for --from and --mirror
    how: str = ""  # instructions to get it by hand, or in other ways

    def official(self, split: str, classes: int | None = None) -> int | None:
        """Official number of clouds in ``split``; None if there is none."""
        counts = self.by_classes.get(classes, {}) if classes is not None else {}
        return counts.get(split, self.clouds.get(split))
