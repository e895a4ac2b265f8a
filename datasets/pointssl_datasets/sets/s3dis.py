"""S3DIS: six areas of offices, 13 classes of points (Armeni et al., CVPR 2016), in two layouts.

* ``indoor3d_sem_seg_hdf5_data``, PointNet's blocks of one square metre: ``all_files.txt`` lists
  ``ply_data_all_0.h5`` etc. with ``data (M, 4096, 9)`` and ``label (M, 4096)``; line ``i`` of
  ``room_filelist.txt`` is the room of block ``i``. Columns: x y z in metres, from the middle of
  the block and from the floor; r g b in 0-1; the position in the room, 0-1 of its extent.
* Rooms as arrays, ``Area_1_office_1.npy``: ``(N, 7)`` with x y z in metres, r g b in 0-255
  (or 0-1), class.
"""

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pointssl_datasets.base.entry import HUGGING_FACE, STANFORD, Archive, Entry
from pointssl_datasets.base.errors import DataError, UsageError
from pointssl_datasets.base.paths import data_root, find_layout, stat_key
from pointssl_datasets.base.source import Cloud, Source
from pointssl_datasets.files.fields import check_xyz
from pointssl_datasets.files.hdf5_shards import open_shards, whole_numbers
from pointssl_datasets.files.tables import read_array
from pointssl_datasets.layout.listings import read_lines, require_files

CLASSES = (
    "WC", "auditorium", "conferenceRoom", "copyRoom", "hallway", "lobby", "lounge", "office",
    "openspace", "pantry", "storage",
)  # fmt: skip
"""Types of rooms: the label of a cloud."""
PARTS = (
    "ceiling", "floor", "wall", "beam", "column", "window", "door", "table", "chair", "sofa",
    "bookcase", "board", "clutter",
)  # fmt: skip
SPLITS = {"train": "12346", "test": "5", **{f"area_{area}": area for area in "123456"}}
"""The areas of each split; holding out area 5 is the usual protocol."""

_NAME = "s3dis"
_LAYOUT = (
    "all_files.txt, room_filelist.txt and the ply_data_all_*.h5 that they list, or rooms as "
    "Area_1_office_1.npy"
)
_ROOM = re.compile(r"Area_([1-6])_([A-Za-z]+)_\d+")
_Listed = tuple[list[str], list[Path], Callable[[int], Cloud]]
_BLOCKS = "indoor3d_sem_seg_hdf5_data.zip"
_BLOCKS_URL = f"{HUGGING_FACE}/cminst/S3DIS/resolve/main/{_BLOCKS}"

ENTRIES = {
    "s3dis": Entry(
        title="S3DIS: blocks or rooms of six office areas, 13 kinds of parts; Area 5 is for test",
        layout="all_files.txt, room_filelist.txt and the ply_data_all_*.h5 that they list; or "
        "Area_N_ROOM.npy",
        up_axis="z",
        classes=len(CLASSES),  # of rooms
        terms="S3DIS' terms of use, to be agreed to in a form: for research; cite Armeni et al., "
        "CVPR 2016.",
        home="http://buildingparser.stanford.edu/dataset.html",
        folder="s3dis",
        others=(Archive(file_name=_BLOCKS, urls=(_BLOCKS_URL, f"{STANFORD}/{_BLOCKS}")),),
        how="Agree to the terms in the form that http://buildingparser.stanford.edu/dataset.html "
        f"links. The blocks that PointNet made of it are then had with --mirror {_BLOCKS_URL}",
    )
}


def open_s3dis(root: Path | None, split: str) -> Source:
    """Blocks or rooms with colours, part labels and the type of the room; z-up.

    A block is named ``Area_1_office_1/00012``: number 12 of its room, counted from 0.

    Raises:
        DataError: neither layout is found, or listed files are missing.
        UsageError: a split other than train, test and area_1 to area_6.
    """
    if split not in SPLITS:
        raise UsageError(f"{_NAME} has the splits {', '.join(SPLITS)}, not {split!r}")
    folder = find_layout(data_root(root, _NAME), _fits, _NAME, _LAYOUT)
    is_blocks = (folder / "room_filelist.txt").is_file()
    names, paths, read = (_open_blocks if is_blocks else _open_rooms)(folder, SPLITS[split])
    if not names:
        raise DataError(f"{folder}: no clouds of the split {split!r}. Complete the download.")
    return Source(
        dataset=_NAME,
        split=split,
        classes=CLASSES,
        parts=PARTS,
        up_axis="z",
        key=stat_key(paths, split, *names),
        names=names,
        read=read,
    )


def find_areas(root: Path | None) -> tuple[int, ...]:
    """The numbers of the areas, 1 to 6, that exist in a folder.

    Raises:
        DataError: neither layout is found.
    """
    folder = find_layout(data_root(root, _NAME), _fits, _NAME, _LAYOUT)
    listing = folder / "room_filelist.txt"
    if listing.is_file():
        names = read_lines(listing, _LAYOUT)
    else:
        names = [path.stem for path in folder.glob("Area_*.npy")]
    matches = (_ROOM.fullmatch(name) for name in names)
    return tuple(sorted({int(match[1]) for match in matches if match is not None}))


def _fits(folder: Path) -> bool:
    return (folder / "room_filelist.txt").is_file() or any(folder.glob("Area_*.npy"))


def _open_blocks(folder: Path, areas: str) -> _Listed:
    listing = folder / "all_files.txt"
    paths = [folder / Path(line).name for line in read_lines(listing, _LAYOUT)]
    require_files(paths, listing)
    shards = open_shards(paths, {"data": (None, 9), "label": (None,)})
    rooms_file = folder / "room_filelist.txt"
    rooms = read_lines(rooms_file, _LAYOUT)
    if len(rooms) != shards.count:
        raise DataError(
            f"{rooms_file}: lists the rooms of {len(rooms)} blocks, but the files in "
            f"{listing.name} contain {shards.count}. Download the folder again."
        )
    rows, names, seen = [], [], Counter[str]()
    for row, room in enumerate(rooms):
        match = _ROOM.fullmatch(room)
        if match is None:
            raise DataError(f"{rooms_file}: line {row + 1}: expected Area_1_office_1, found {room}")
        if match[1] in areas:
            rows.append(row)
            names.append(f"{room}/{seen[room]:05d}")
        seen[room] += 1

    def read(index: int) -> Cloud:
        where = shards.where(rows[index])
        data, part = shards.read(rows[index])
        cloud = _cloud(data[:, :3], data[:, 3:6], part, rooms[rows[index]], where)
        cloud["place"] = np.ascontiguousarray(data[:, 6:], dtype=np.float32)
        return cloud

    return names, [*paths, rooms_file], read


def _open_rooms(folder: Path, areas: str) -> _Listed:
    paths = []
    for path in sorted(folder.glob("Area_*.npy")):
        match = _ROOM.fullmatch(path.stem)
        if match is not None and match[1] in areas:
            paths.append(path)

    def read(index: int) -> Cloud:
        path = paths[index]
        table = _read_room(path)
        scale = 255.0 if table[:, 3:6].max(initial=0) > 1 else 1.0  # some files have 0 to 1
        return _cloud(table[:, :3], table[:, 3:6] / scale, table[:, 6], path.stem, str(path))

    return [path.stem for path in paths], paths, read


def _read_room(path: Path) -> NDArray[Any]:
    table = read_array(path)
    if table.ndim != 2 or table.shape[1] != 7 or table.dtype.kind not in "fiu":
        raise DataError(
            f"{path}: expected (N, 7) numbers x y z r g b class, found {table.dtype} of shape "
            f"{table.shape}"
        )
    return table


def _cloud(
    xyz: NDArray[Any], colours: NDArray[Any], part: NDArray[Any], room: str, where: str
) -> Cloud:
    """A checked block or room; ``colours (N, 3)`` in 0-1, ``room`` e.g. ``Area_1_office_1``."""
    room_type = room.split("_")[2]
    if room_type not in CLASSES:
        raise DataError(f"{where}: {room_type!r} is not one of the {len(CLASSES)} types of rooms")
    xyz = check_xyz(xyz, where)
    if part.shape != (len(xyz),):
        raise DataError(f"{where}: {len(part)} point labels for {len(xyz)} points")
    if not ((colours >= 0) & (colours <= 1)).all():
        raise DataError(
            f"{where}: colours from {colours.min():g} to {colours.max():g} of the largest value; "
            "blocks store them from 0 to 1, rooms from 0 to 255"
        )
    return Cloud(
        xyz=xyz,
        colours=np.ascontiguousarray(colours, dtype=np.float32),
        part=whole_numbers(part, range(len(PARTS)), where, "point label"),
        label=CLASSES.index(room_type),
    )
