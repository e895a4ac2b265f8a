"""``packed``: the output of ``pointssl data convert``, which opens at once, whatever its size."""

import hashlib
from pathlib import Path

import numpy as np

from pointssl_datasets.base.axes import TO_Y_UP
from pointssl_datasets.base.entry import Entry
from pointssl_datasets.base.errors import DataError, UsageError
from pointssl_datasets.base.paths import data_root
from pointssl_datasets.base.source import Cloud, Source
from pointssl_datasets.packing.arrays import (
    FIELDS,
    TURNED,
    VERSION,
    read_array,
    read_meta,
    read_names,
    read_paths,
)

ENTRIES = {
    "packed": Entry(
        title="What `pointssl data convert` wrote",
        layout="SPLIT/meta.json beside memory-mapped arrays",
        up_axis="y",
        origin="your own",
        how="`pointssl data convert` makes it of any other dataset.",
    )
}


def open_packed(root: Path | None, split: str) -> Source:
    """The packed folder ``root/SPLIT``, or ``root`` itself.

    :mod:`pointssl_datasets.packing.arrays` has the layout.

    Raises:
        DataError: there is no such folder, it has another version, or its arrays are inconsistent.
        UsageError: the folder contains another split.
    """
    given = data_root(root, "packed")
    folder = given if (given / "meta.json").is_file() else given / split
    if not (folder / "meta.json").is_file():
        raise DataError(
            f"packed: no {folder / 'meta.json'}. Expected a folder that `pointssl data convert` "
            "wrote."
        )
    meta = read_meta(folder)
    if meta.get("version") != VERSION:
        raise DataError(
            f"{folder}: has format {meta.get('version', '1')}, but format {VERSION} is expected. "
            "Convert the dataset again."
        )
    if meta["split"] != split:
        raise UsageError(f"{folder}: contains the split {meta['split']!r}, not {split!r}")
    arrays = {
        name: read_array(folder, name) for name in FIELDS if (folder / f"{name}.npy").exists()
    }
    offsets, labels, names = (
        np.array(read_array(folder, "offsets")), read_array(folder, "label"), read_names(folder)
    )  # fmt: skip
    lengths = {len(array) for array in arrays.values()}
    ascending = len(offsets) > 1 and offsets[0] == 0 and (np.diff(offsets) > 0).all()
    if not ascending or lengths != {offsets[-1]} or len(offsets) - 1 != len(names) or (
        len(labels) != len(names)
    ):  # fmt: skip
        raise DataError(f"{folder}: its arrays are inconsistent. Convert the dataset again.")

    up_axis = meta["up_axis_of_files"]
    turn_back = TO_Y_UP[up_axis]  # to the axes of the original files, which the meshes still have
    images, meshes = read_paths(folder, "images"), read_paths(folder, "mesh")

    def read(index: int) -> Cloud:
        rows = slice(offsets[index], offsets[index + 1])
        cloud = Cloud(label=int(labels[index]), images=images[index])
        for name, array in arrays.items():
            values = np.array(array[rows])
            cloud[name] = values @ turn_back if name in TURNED else values
        mesh = meshes[index]
        if mesh and mesh[0].is_file():  # it may be on another machine
            cloud["mesh"] = mesh[0]
        return cloud

    return Source(
        dataset="packed",
        split=split,
        classes=tuple(meta["classes"]),
        parts=tuple(meta["parts"]),
        up_axis=up_axis,
        key=hashlib.sha256(f"{meta['fingerprint']}\0{meta['normalise']}".encode()).hexdigest(),
        names=names,
        read=read,
        packed=folder,
    )
