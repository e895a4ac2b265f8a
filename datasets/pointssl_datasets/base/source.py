"""A cloud, and a source of clouds: the names of one split and a function that reads one cloud."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray


class Cloud(TypedDict, total=False):
    """A cloud as it is stored, before points are chosen. Only ``xyz`` is always present."""

    name: str  # unique within the split, e.g. "chair/chair_0001"
    xyz: NDArray[np.float32]  # (N, 3), in the dataset's own axes
    normals: NDArray[np.float32]  # (N, 3), unit length, in the dataset's own axes
    colours: NDArray[np.float32]  # (N, 3), red green blue in 0-1
    place: NDArray[np.float32]  # (N, 3), position in the room, 0-1 of its extent, same axes
    part: NDArray[np.int64]  # (N,)
    label: int  # number of its class
    images: list[Path]  # any number of images of the shape
    mesh: Path  # the mesh that the points were sampled from, in the same axes and scale


@dataclass(frozen=True, kw_only=True)
class Source:
    """One split of one dataset, listed but not read.

    Attributes:
        dataset: name of the dataset, e.g. ``"modelnet40"``.
        split: e.g. ``"train"`` or ``"test"``.
        classes: class names; a cloud's label indexes them.
        parts: part names; empty if there are no part labels.
        up_axis: the axis that points up in the stored coordinates.
        key: a string that changes whenever the clouds change: a digest of paths, sizes and
            modification times of files, or the seed and version of a generator.
        names: of the clouds, unique and in order.
        read: returns cloud number i, always the same. It raises :class:`DataError` if that cloud
            is damaged, so that the others can still be read.
        notes: lines for the user, e.g. what was skipped and how often.
        left_out: number of clouds that a skip list left out.
        packed: a folder that :mod:`pointssl_datasets.packing.pack` wrote of exactly these clouds.
    """

    dataset: str
    split: str
    classes: tuple[str, ...]
    up_axis: str
    key: str
    names: Sequence[str]
    read: Callable[[int], Cloud]
    parts: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)
    left_out: int = 0
    packed: Path | None = None

    @property
    def count(self) -> int:
        """Number of clouds."""
        return len(self.names)

    def clouds(self) -> Iterator[Cloud]:
        """All clouds in order, each with its name."""
        for index, name in enumerate(self.names):
            cloud = self.read(index)
            cloud["name"] = name
            yield cloud
