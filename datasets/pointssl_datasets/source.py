"""What a dataset file hands over: a listing of one split, and an iterator that reads it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray


class Cloud(TypedDict, total=False):
    """One shape as it is stored, before any choice of points. ``name`` and ``xyz`` always exist."""

    name: str  # unique within the split, e.g. "chair/chair_0001"
    xyz: NDArray[np.float32]  # (N, 3), in the dataset's own axes
    normals: NDArray[np.float32]  # (N, 3), unit length, in the dataset's own axes
    part: NDArray[np.int64]  # (N,)
    label: int  # class of the shape
    images: list[Path]  # pictures of the shape, any number


@dataclass(frozen=True, kw_only=True)
class Source:
    """One split of one dataset, listed but not yet read.

    Attributes:
        dataset: name of the dataset, e.g. ``"modelnet40"``.
        split: ``"train"`` or ``"test"``.
        classes: class names; a cloud's label indexes them.
        parts: part names; empty where there are no part labels.
        up_axis: the axis that points up in the stored coordinates.
        key: changes whenever what would be read changes (paths, sizes and modification times of
            the files; seed and version of a generator).
        count: number of clouds.
        clouds: reads them, one after the other, always in the same order.
        notes: lines for the user, e.g. what was skipped and how often.
    """

    dataset: str
    split: str
    classes: tuple[str, ...]
    up_axis: str
    key: str
    count: int
    clouds: Callable[[], Iterator[Cloud]]
    parts: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)
