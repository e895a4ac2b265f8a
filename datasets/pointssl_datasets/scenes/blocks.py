"""Rooms cut into upright blocks, as PointNet (Qi et al., CVPR 2017) and DGCNN segment scenes.

A block is a square of the floor plan with everything above it. Coordinates are in metres: in the
plane from the middle of the square, which begins where the points of the block begin; in height
from the floor of the room. ``place`` is the position in the room, 0-1 of the room's extent.
"""

import dataclasses
import hashlib
import json
import math
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from pointssl_datasets.base.errors import DataError
from pointssl_datasets.base.paths import cache_root
from pointssl_datasets.base.source import Cloud, Source
from pointssl_datasets.packing.arrays import VERSION, read_meta
from pointssl_datasets.packing.cache import built_folder
from pointssl_datasets.packing.pack import write_packed

FEWEST = 100  # points of a block for training, as in PointNet's preparation
_CUT_VERSION = "1"
_SLACK = 1e-4  # of a stride: a smaller remainder, due to rounding, is not a block of its own

Rows = NDArray[np.int64]


class Room(NamedTuple):
    """A room as it is stored, and its bounding box."""

    cloud: Cloud
    low: NDArray[np.float32]  # (3,), the corner with the smallest coordinates
    extent: NDArray[np.float32]  # (3,)


def measure(cloud: Cloud) -> Room:
    """``cloud`` with its bounding box; a flat axis has the extent 1, as ``place`` divides by it."""
    low, high = cloud["xyz"].min(axis=0), cloud["xyz"].max(axis=0)
    return Room(cloud, low, np.where(high > low, high - low, np.float32(1)))


def cut(xyz: NDArray[np.float32], up: int, size: float, stride: float) -> Iterator[Rows]:
    """The rows of each block that has points, ascending; every point is in at least one block.

    Args:
        xyz: ``(N, 3)``, in metres.
        up: which of the three axes points up.
        size: side of a block.
        stride: distance from block to block, at most ``size``; if less, the blocks overlap.
    """
    along, across = (xyz[:, axis] - xyz[:, axis].min() for axis in range(3) if axis != up)
    for strip in _intervals(along, np.arange(len(xyz)), size, stride):
        for rows in _intervals(across[strip], strip, size, stride, across.max()):
            yield np.sort(rows)


def _intervals(
    values: NDArray[np.float32], rows: Rows, size: float, stride: float, high: float | None = None
) -> Iterator[Rows]:
    """The ``rows`` whose ``values`` are in [0, size), [stride, stride + size) and so on.

    The intervals reach to ``high``, by default the largest value; the last one has no upper end.
    """
    order = np.argsort(values, kind="stable")
    count = count_blocks(float(values.max() if high is None else high), size, stride)
    starts = np.arange(count) * stride
    ends = np.where(np.arange(count) < count - 1, starts + size, np.inf)
    edges = np.stack([starts, ends]).astype(np.float32)  # the type of the values: no copy
    for first, last in np.searchsorted(values[order], edges).T:
        if first < last:
            yield rows[order[first:last]]


def count_blocks(extent: float, size: float, stride: float) -> int:
    """Number of blocks along an extent; at least one."""
    return max(0, math.ceil((extent - size) / stride - _SLACK)) + 1


def block_of(room: Room, rows: Rows, up: int, size: float) -> Cloud:
    """The block of the ``rows (M,)`` of a room, in the room's own axes."""
    cloud = room.cloud
    xyz = cloud["xyz"][rows] - room.low
    place = xyz / room.extent
    middle = xyz.min(axis=0) + np.float32(size / 2)
    middle[up] = 0
    block = Cloud(xyz=xyz - middle, place=place, part=cloud["part"][rows])
    if "colours" in cloud:
        block["colours"] = cloud["colours"][rows]
    if "label" in cloud:
        block["label"] = cloud["label"]
    return block


def pack_blocks(
    rooms: Source,
    *,
    size: float,
    stride: float,
    cache_dir: Path | None,
    progress: bool,
    fewest: int = FEWEST,
) -> Path:
    """A packed folder of the blocks of all rooms, which is cached.

    A block is named ``ROOM/00012`` after its room, counted from 0. At most two rooms are in memory.

    Args:
        rooms: whole rooms in metres, with part labels.
        size, stride: see :func:`cut`.
        cache_dir, progress: see :func:`~pointssl_datasets.packing.pack.pack`.
        fewest: blocks with fewer points are left out, and counted in the notes of the folder.

    Raises:
        DataError: a room is bad, no block is left, or the cache can't be written.
    """
    parts = (_CUT_VERSION, VERSION, rooms.key, rooms.up_axis, f"{size!r} {stride!r} {fewest}")
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:20]
    name = f"{rooms.dataset}-{rooms.split}-blocks-{key}"

    def write(folder: Path) -> None:
        blocks = list_blocks(rooms, size, stride, fewest, progress=progress)
        write_packed(blocks, folder, "none", progress)
        meta = read_meta(folder)
        meta["notes"] += blocks.notes
        (folder / "meta.json").write_text(json.dumps(meta), encoding="utf-8")

    return built_folder(cache_root(cache_dir) / "clouds" / name, write)


def list_blocks(
    rooms: Source, size: float, stride: float, fewest: int = FEWEST, *, progress: bool = False
) -> Source:
    """The blocks of all rooms as a source, fast if they are read in order.

    Raises:
        DataError: a room is bad, or no block has ``fewest`` points.
    """
    up = "xyz".index(rooms.up_axis)
    names: list[str] = []
    places: list[tuple[int, int]] = []  # number of the room, number of the block in it
    sparse, lost, small = 0, 0, 0  # blocks that are left out, their points; narrow rooms

    @lru_cache(maxsize=1)
    def opened(room: int) -> tuple[Room, list[Rows]]:
        measured = measure(rooms.read(room))
        return measured, list(cut(measured.cloud["xyz"], up, size, stride))

    bar = tqdm(rooms.names, "cut", unit="room", disable=not progress, leave=False)
    for number, name in enumerate(bar):
        room, blocks = opened(number)
        small += bool((np.delete(room.extent, up) < size).any())
        for place, rows in enumerate(blocks):
            if len(rows) < fewest:
                sparse += 1
                lost += len(rows)
                continue
            names.append(f"{name}/{place:05d}")
            places.append((number, place))
    if not names:
        raise DataError(
            f"{rooms.dataset}: none of the {sparse} blocks of {size:g} m in {rooms.count} rooms "
            f"has {fewest} points. Are the coordinates in metres? Try a larger --block-size."
        )
    notes = list(rooms.notes)
    if sparse:
        notes.append(
            f"{sparse} of {sparse + len(names)} blocks have fewer than {fewest} points and "
            f"are left out of training ({lost} points)"
        )
    if small:
        notes.append(
            f"{small} of {rooms.count} rooms are narrower than a block of {size:g} m: are the "
            "coordinates in metres?"
        )

    def read(index: int) -> Cloud:
        number, place = places[index]
        room, blocks = opened(number)
        return block_of(room, blocks[place], up, size)

    return dataclasses.replace(rooms, names=names, read=read, notes=notes, packed=None)
