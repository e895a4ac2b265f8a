"""Rooms for segmentation: the points of each, and the blocks that are the input of a network.

A point may be in several blocks; ``rows`` are the points of the room that form a block.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pointssl_datasets.base.axes import TO_Y_UP
from pointssl_datasets.base.errors import DataError
from pointssl_datasets.base.source import Cloud, Source
from pointssl_datasets.packing.arrays import TURNED
from pointssl_datasets.scenes.blocks import Rows, block_of, cut, measure


class Scene(NamedTuple):
    """A room of N points, y-up.

    Attributes:
        xyz: ``(N, 3)``, in metres.
        part: ``(N,)``.
        blocks: iterator of ``(rows (M,), block of M points)``.
    """

    name: str
    xyz: NDArray[np.float32]
    part: NDArray[np.int64]
    blocks: Iterator[tuple[Rows, Cloud]]


class Scenes(NamedTuple):
    """Rooms that are read one at a time.

    Attributes:
        names: of the rooms.
        read: returns room number i, always the same.
        counts: which points are counted in a score, as a sentence for the user.
    """

    names: list[str]
    read: Callable[[int], Scene]
    counts: str


def open_scenes(source: Source, size: float, stride: float) -> Scenes:
    """The rooms of a source: rooms are cut into blocks, blocks are joined to rooms.

    Args:
        source: with part labels; clouds named ``ROOM/NUMBER`` with a ``place`` are blocks.
        size, stride: of the blocks that rooms are cut into, see :func:`~.blocks.cut`.

    Raises:
        DataError: the ``place`` of the first block does not distinguish its points.
    """
    return _join(source) if holds_blocks(source) else _cut(source, size, stride)


def holds_blocks(source: Source) -> bool:
    """Whether the clouds of a source are blocks of rooms."""
    return "/" in source.names[0]


def room_of(name: str) -> str:
    """The room of a block: ``"Area_1_office_1"`` of ``"Area_1_office_1/00012"``."""
    return name.partition("/")[0]


def _cut(source: Source, size: float, stride: float) -> Scenes:
    up = "xyz".index(source.up_axis)

    def read(index: int) -> Scene:
        room = measure(source.read(index))
        xyz: NDArray[np.float32] = room.cloud["xyz"]
        blocks = (
            (rows, _y_up(block_of(room, rows, up, size), source))
            for rows in cut(xyz, up, size, stride)
        )
        moved = np.subtract(xyz, room.low, dtype=np.float32)
        turned = moved @ TO_Y_UP[source.up_axis].T
        return Scene(source.names[index], turned, room.cloud["part"], blocks)

    return Scenes(list(source.names), read, "every point of every room counts once")


def _join(source: Source) -> Scenes:
    members: dict[str, list[int]] = {}
    for index, name in enumerate(source.names):
        members.setdefault(room_of(name), []).append(index)
    names = list(members)
    _require_places(names[0], source.read(0), source)

    def read(index: int) -> Scene:
        name = names[index]
        clouds = [source.read(number) for number in members[name]]
        return join(name, clouds, source)

    return Scenes(
        names, read, "every point that the blocks of a room hold counts once (not all of the room)"
    )


def join(name: str, clouds: list[Cloud], source: Source) -> Scene:
    """The room that consists of the given blocks. Points with the same ``place`` are one point.

    If blocks disagree about the label of a point, the first block decides.

    Raises:
        DataError: the ``place`` of the first block does not distinguish its points.
    """
    _require_places(name, clouds[0], source)
    xyz, place = clouds[0]["xyz"], clouds[0]["place"]
    places = np.concatenate([cloud["place"] for cloud in clouds])
    unique, first, rows = np.unique(places, axis=0, return_index=True, return_inverse=True)
    ends = np.cumsum([len(cloud["xyz"]) for cloud in clouds])
    rows = rows.reshape(-1)  # NumPy 2.0 returns a column
    blocks = (
        (rows[end - len(cloud["xyz"]) : end], _y_up(cloud, source))
        for end, cloud in zip(ends, clouds, strict=True)
    )
    # The room's extent is not in the files, but any block gives the length of a unit of place.
    widest = np.maximum(np.ptp(place, axis=0), 1e-6)
    part = np.concatenate([cloud["part"] for cloud in clouds])[first]
    metres = (unique * (np.ptp(xyz, axis=0) / widest)).astype(np.float32)
    return Scene(name, metres @ TO_Y_UP[source.up_axis].T, part, blocks)


def _require_places(name: str, block: Cloud, source: Source) -> None:
    places, points = (len(np.unique(block[field], axis=0)) for field in ("place", "xyz"))  # type: ignore[literal-required]
    if 2 * places < points:
        raise DataError(
            f"{source.dataset}: {name}: columns 7 to 9 of its blocks do not distinguish its "
            "points: expected the position in the room, by which overlapping blocks are joined"
        )


def _y_up(block: Cloud, source: Source) -> Cloud:
    turn = TO_Y_UP[source.up_axis]
    turned = Cloud(**block)
    for field in TURNED:
        if field in turned:
            turned[field] = turned[field] @ turn.T
    return turned
