"""ShapeNetPart: 16 categories, 50 parts (Yi et al., SIGGRAPH Asia 2016), in its three layouts.

* ``shapenet_part_seg_hdf5_data``: ``ply_data_train0.h5`` etc. with ``data (M, 2048, 3)``,
  ``label (M, 1)`` and ``pid (M, 2048)``, parts numbered 0 to 49; ``train_hdf5_file_list.txt``.
* ``shapenetcore_partanno_segmentation_benchmark_v0``: ``<synset>/points/<id>.pts`` and
  ``points_label/<id>.seg``, parts numbered from 1 within the category.
* ``..._v0_normal``: ``<synset>/<id>.txt`` with lines ``x y z nx ny nz part``, parts 0 to 49.

The last two have their splits in ``train_test_split/shuffled_train_file_list.json`` etc. Part ``p``
of the second layout is part ``first part of the category + p - 1`` of the others.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from pointssl_datasets.base.entry import HUGGING_FACE, STANFORD, Archive, Entry
from pointssl_datasets.base.errors import DataError, UsageError
from pointssl_datasets.base.paths import data_root, find_layout, stat_key
from pointssl_datasets.base.source import Cloud, Source
from pointssl_datasets.files.fields import check_xyz, unit_normals
from pointssl_datasets.files.hdf5_shards import open_shards, whole_numbers
from pointssl_datasets.files.text_table import read_table
from pointssl_datasets.layout.listings import read_lines, require_files, require_unique
from pointssl_datasets.sets.shapenet import TERMS
from pointssl_datasets.sets.shapes import CATEGORIES, CLASSES, PARTS

SPLITS = {"train": ("train",), "val": ("val",), "test": ("test",), "trainval": ("train", "val")}
SYNSETS = (
    "02691156", "02773838", "02954340", "02958343", "03001627", "03261776", "03467517", "03624134",
    "03636649", "03642806", "03790512", "03797390", "03948459", "04099429", "04225987", "04379243",
)  # fmt: skip
"""Synsets of the categories, in the order of ``CLASSES``."""

_NAME = "shapenetpart"
_LAYOUT = (
    "ply_data_train0.h5 ..., or <synset>/points/<id>.pts with <synset>/points_label/<id>.seg, or "
    "<synset>/<id>.txt"
)
_OTHERS = (
    "shape_names.txt",
    "all_files.txt",
)  # of ModelNet and S3DIS, with .h5 files of the same names
_Listed = tuple[list[str], list[Path], Callable[[int], Cloud], list[str]]
_NORMAL = "shapenetcore_partanno_segmentation_benchmark_v0_normal.zip"

ENTRIES = {
    "shapenetpart": Entry(
        title="ShapeNetPart: 16 categories with 50 parts",
        layout="train_test_split/*.json, synsetoffset2category.txt, SYNSET/NAME.txt; or the HDF5 "
        "files of shapenet_part_seg_hdf5_data",
        up_axis="y",
        classes=16,
        clouds={"train": 12137, "val": 1870, "test": 2874},
        terms=TERMS,
        home="https://cs.stanford.edu/~ericyi/project_page/part_annotation/",
        gigabytes=2.7,
        origin="download",
        folder="shapenetpart",
        archives=(
            Archive(
                file_name=_NORMAL,
                urls=(
                    f"{HUGGING_FACE}/cminst/ShapeNet/resolve/main/{_NORMAL}",
                    f"https://omnomnom.vision.rwth-aachen.de/data/point2vec/data/{_NORMAL}",
                    f"{STANFORD}/{_NORMAL}",
                ),
                sha256="0e26411700bae2da38ee8ecc719ba4db2e6e0133486e258665952ad5dfced0fe",
            ),
        ),
        others=(
            Archive(
                file_name="shapenet_part_seg_hdf5_data.zip",
                urls=(f"{STANFORD}/shapenet_part_seg_hdf5_data.zip",),
            ),
            Archive(
                file_name="shapenetcore_partanno_segmentation_benchmark_v0.zip",
                urls=(
                    "https://shapenet.cs.stanford.edu/ericyi/"
                    "shapenetcore_partanno_segmentation_benchmark_v0.zip",
                ),
                sha256="f1dc7bad73237060946f13e1fa767b40d9adba52a79d42d64de31552b8c0b65e",
            ),
        ),
        how="These are the files with normals; for the HDF5 files that DGCNN reads fetch "
        f"{STANFORD}/shapenet_part_seg_hdf5_data.zip with --mirror, or your browser and --from.",
    )
}


def open_shapenetpart(root: Path | None, split: str) -> Source:
    """One split, y-up; ``trainval`` is train, then val. The label is the category.

    Raises:
        DataError: none of the layouts is found, or lists or listed files are missing.
        UsageError: a split other than train, val, test and trainval.
    """
    if split not in SPLITS:
        raise UsageError(f"{_NAME} has the splits {', '.join(SPLITS)}, not {split!r}")
    given = data_root(root, _NAME)
    folder = find_layout(given, lambda f: _layout(f) is not None, _NAME, _LAYOUT)
    kind = _layout(folder)
    names, paths, read, notes = (
        _open_hdf5(folder, split) if kind == "hdf5" else _open_text(folder, split, kind == "normal")
    )
    return Source(
        dataset=_NAME,
        split=split,
        classes=CLASSES,
        parts=PARTS,
        up_axis="y",
        key=stat_key(paths, split, *names),
        names=names,
        read=read,
        notes=notes,
    )


def _layout(folder: Path) -> str | None:
    """The layout of a folder, ``"hdf5"``, ``"points"`` or ``"normal"``; None if it has none."""
    if any(folder.glob("ply_data_*.h5")) and not any((folder / name).is_file() for name in _OTHERS):
        return "hdf5"
    synsets = [folder / synset for synset in SYNSETS if (folder / synset).is_dir()]
    if any((synset / "points").is_dir() for synset in synsets):
        return "points"
    return "normal" if any(any(synset.glob("*.txt")) for synset in synsets) else None


def _open_hdf5(folder: Path, split: str) -> _Listed:
    paths, notes = [], []
    for name in SPLITS[split]:
        listing = folder / f"{name}_hdf5_file_list.txt"
        if listing.is_file():
            files = [folder / Path(line).name for line in read_lines(listing, _LAYOUT)]
            require_files(files, listing)
        else:
            files = sorted(folder.glob(f"ply_data_{name}*.h5"))
            notes.append(f"{listing} is missing: took {len(files)} files by their names")
        if not files:
            raise DataError(
                f"{folder}: no files of the split {name!r}: neither {listing.name} nor "
                f"ply_data_{name}0.h5. Complete the download."
            )
        paths += files
    shards = open_shards(paths, {"data": (None, 3), "label": (), "pid": (None,)})
    require_unique([path.name for path in paths], folder)

    def read(index: int) -> Cloud:
        where = shards.where(index)
        xyz, label, part = shards.read(index)
        number = int(whole_numbers(label, range(len(CLASSES)), where, "label").item())
        return _cloud(xyz, part, number, where)

    return shards.names, paths, read, notes


def _open_text(folder: Path, split: str, normal: bool) -> _Listed:
    """Both layouts of text files."""
    names, notes = [], []
    for name in SPLITS[split] if (folder / "train_test_split").is_dir() else ():
        listing = folder / "train_test_split" / f"shuffled_{name}_file_list.json"
        listed = _from_json(listing)
        require_files([_file(folder, shape, normal) for shape in listed], listing)
        names += listed
    if not names:
        if "train" not in SPLITS[split]:
            raise DataError(
                f"{folder}: no train_test_split/shuffled_{split}_file_list.json. Without the "
                "official lists all shapes count as train; complete the download."
            )
        pattern = "*.txt" if normal else "points/*.pts"
        names = [f"{s}/{path.stem}" for s in SYNSETS for path in sorted((folder / s).glob(pattern))]
        notes.append(f"{folder} has no train_test_split: all its {len(names)} shapes are train")
    if not names:
        raise DataError(f"{folder}: no shapes. Expected {_LAYOUT}.")
    require_unique(names, folder)
    paths = [_file(folder, name, normal) for name in names]
    labelled = paths if normal else [_labels_of(path) for path in paths]
    require_files(labelled, folder)

    def read(index: int) -> Cloud:
        where, synset = str(paths[index]), names[index].partition("/")[0]
        if synset not in SYNSETS:
            raise DataError(f"{where}: {synset!r} is not one of the 16 synsets of ShapeNetPart")
        label = SYNSETS.index(synset)
        if normal:
            return _read_normal(paths[index], label)
        xyz, part = read_table(paths[index]), read_table(labelled[index])
        if part.shape[1] != 1:
            raise DataError(f"{labelled[index]}: expected one part number per line")
        return _cloud(xyz, part[:, 0], label, where, first=1)

    return names, paths if normal else paths + labelled, read, notes


def _from_json(listing: Path) -> list[str]:
    """The names ``"<synset>/<id>"`` in a JSON list of ``"shape_data/<synset>/<id>"``."""
    if not listing.is_file():
        raise DataError(f"{listing}: no such file, and so no such split. Complete the download.")
    try:
        listed = json.loads(listing.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{listing}: cannot be read as a list of shapes ({error})") from None
    if not isinstance(listed, list) or not listed:
        raise DataError(f"{listing}: expected a list of shape_data/<synset>/<id>")
    names = []
    for line in listed:
        # Only the last two parts count, so that no list leads out of the folder.
        parts = Path(line).parts[-2:] if isinstance(line, str) else ()
        if len(parts) != 2 or ".." in parts or not parts[0].isdigit():
            raise DataError(f"{listing}: expected shape_data/<synset>/<id>, found {line!r}")
        names.append("/".join(parts))
    return names


def _file(folder: Path, name: str, normal: bool) -> Path:
    synset, shape = name.split("/")
    return folder / synset / f"{shape}.txt" if normal else folder / synset / f"points/{shape}.pts"


def _labels_of(points: Path) -> Path:
    return points.parents[1] / "points_label" / f"{points.stem}.seg"


def _read_normal(path: Path, label: int) -> Cloud:
    table = read_table(path)
    if table.shape[1] != 7:
        raise DataError(
            f"{path}: expected lines x y z nx ny nz part, found {table.shape[1]} columns"
        )
    cloud = _cloud(table[:, :3], table[:, 6], label, str(path))
    normals = unit_normals(table[:, 3:6])
    if normals is None:
        raise DataError(f"{path}: its normals are not of unit length")
    cloud["normals"] = normals
    return cloud


def _cloud(
    xyz: NDArray[Any], part: NDArray[Any], label: int, where: str, *, first: int | None = None
) -> Cloud:
    """A checked cloud; its parts must be those of its category, numbered from ``first``."""
    xyz = check_xyz(xyz, where)
    if part.shape != (len(xyz),):
        raise DataError(f"{where}: {len(part)} part labels for {len(xyz)} points")
    category = CATEGORIES[CLASSES[label]]
    start = category.first if first is None else first
    numbers = whole_numbers(
        part, range(start, start + len(category.parts)), where, f"{CLASSES[label]} part"
    )
    return Cloud(xyz=xyz, label=label, part=numbers + (category.first - start))
