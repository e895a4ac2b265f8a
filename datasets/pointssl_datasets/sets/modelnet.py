"""ModelNet in the layout of ``modelnet40_ply_hdf5_2048`` (Qi et al., PointNet, CVPR 2017).

``train_files.txt`` and ``test_files.txt`` list HDF5 files with ``data (M, N, 3)``,
``label (M, 1)`` and optionally ``normal (M, N, 3)``; ``shape_names.txt`` lists the classes. Any
number of classes and of points is accepted.
"""

import json
from pathlib import Path

import h5py

from pointssl_datasets.base.entry import HUGGING_FACE, STANFORD, Archive, Entry
from pointssl_datasets.base.errors import DataError, UsageError
from pointssl_datasets.base.paths import data_root, find_layout, stat_key
from pointssl_datasets.base.source import Cloud, Source
from pointssl_datasets.files.fields import check_xyz, unit_normals
from pointssl_datasets.files.hdf5_shards import Shards, open_shards, whole_numbers
from pointssl_datasets.layout.listings import read_lines, require_files

HOME = "https://modelnet.cs.princeton.edu"
TERMS = (
    "For academic research only. The CAD models come from the web and their authors keep the "
    "copyright; cite Wu et al., 3D ShapeNets, CVPR 2015."
)
_FILES = "train_files.txt, test_files.txt, shape_names.txt and the .h5 files that they list"
_LAYOUT = f"the layout of modelnet40_ply_hdf5_2048: {_FILES}"
_ARCHIVE = "modelnet40_ply_hdf5_2048.zip"

ENTRIES = {
    "modelnet40": Entry(
        title="ModelNet40, 2048 points of each CAD model, as PointNet and DGCNN read it",
        layout=_FILES,
        up_axis="y",
        classes=40,
        clouds={"train": 9840, "test": 2468},
        terms=TERMS,
        home=HOME,
        gigabytes=0.4,
        origin="download",
        folder="modelnet40_ply_hdf5_2048",
        archives=(
            Archive(
                file_name=_ARCHIVE,
                urls=(
                    f"{HUGGING_FACE}/Msun/modelnet40/resolve/main/{_ARCHIVE}",
                    f"{STANFORD}/{_ARCHIVE}",
                ),
                size=435_212_151,
                sha256="07670e237db72ece0f723b9abb571534c9ad655a6456b389646587dc72bb8bae",
            ),
        ),
    ),
    "modelnet10": Entry(
        title="ModelNet10 in the layout of modelnet40_ply_hdf5_2048",
        layout=_FILES,
        up_axis="z",
        classes=10,
        clouds={"train": 3991, "test": 908},
        terms=TERMS,
        home=HOME,
        folder="modelnet10_hdf5",
        how="Nobody distributes it in this layout: get the meshes of modelnet-off and turn them "
        "into it with `pointssl data convert --data modelnet-off --to hdf5 --points 2048`.",
    ),
}


def open_modelnet(
    root: Path | None, split: str, *, name: str = "modelnet40", up: str = "y", official: int = 40
) -> Source:
    """ModelNet40, y-up as distributed with PointNet.

    Raises:
        DataError: the folder or a file is missing, damaged or in an unexpected layout.
        UsageError: a split other than train and test.
    """
    if split not in ("train", "test"):
        raise UsageError(f"{name} has the splits train and test, not {split!r}")
    given = data_root(root, name)
    folder = find_layout(given, lambda f: (f / f"{split}_files.txt").is_file(), name, _LAYOUT)
    classes = read_lines(folder / "shape_names.txt", _LAYOUT)
    listing = folder / f"{split}_files.txt"
    # The lists have data/modelnet40_ply_hdf5_2048/x.h5: only x.h5 counts.
    paths = [folder / Path(line).name for line in read_lines(listing, _LAYOUT)]
    require_files(paths, listing)
    shards = open_shards(paths, {"data": (None, 3), "label": ()}, {"normal": (None, 3)})
    if not shards.count:
        raise DataError(
            f"{listing}: the files that it lists contain no clouds. Download them again."
        )
    names = _names(shards)
    notes = []
    if len(classes) != official:
        notes.append(f"{name}: {folder} has {len(classes)} classes, the original {official}")

    def read(index: int) -> Cloud:
        where = shards.where(index)
        values = dict(zip(shards.keys, shards.read(index), strict=True))
        label = whole_numbers(values["label"], range(len(classes)), where, "label")
        cloud = Cloud(xyz=check_xyz(values["data"], where), label=int(label.item()))
        if "normal" in values:
            normals = unit_normals(values["normal"])
            if normals is None or normals.shape != cloud["xyz"].shape:
                shape = cloud["xyz"].shape
                raise DataError(f"{where}: 'normal' must be {shape} vectors of unit length")
            cloud["normals"] = normals
        return cloud

    return Source(
        dataset=name,
        split=split,
        classes=tuple(classes),
        up_axis=up,
        key=stat_key([*paths, folder / "shape_names.txt"], *names),
        names=names,
        read=read,
        notes=notes,
    )


def open_modelnet10(root: Path | None, split: str) -> Source:
    """ModelNet10 in the same layout; z-up like Princeton's meshes. See :func:`open_modelnet`."""
    return open_modelnet(root, split, name="modelnet10", up="z", official=10)


def _names(shards: Shards) -> list[str]:
    """Names of all clouds: from a list beside each file, or from the file's ids.

    If these are not unique, or some are missing, a name consists of file and row.
    """
    names: list[str] = []
    for path, start, end in zip(shards.paths, shards.starts, shards.starts[1:], strict=False):
        names += _names_from_json(path, end - start) or _ids(path)
    complete = len(names) == len(set(names)) == shards.count
    return names if complete else shards.names


def _ids(path: Path) -> list[str]:
    with h5py.File(path, "r") as file:
        ids = file.get("id")
        is_text = isinstance(ids, h5py.Dataset) and ids.dtype.kind in "SO" and ids.ndim == 1
        texts = list(ids[:]) if is_text else []
    return [x.decode(errors="replace") if isinstance(x, bytes) else str(x) for x in texts]


def _names_from_json(path: Path, count: int) -> list[str] | None:
    """Names from ``ply_data_train_0_id2file.json`` beside ``ply_data_train0.h5``, one per row."""
    stem = path.stem.rstrip("0123456789")
    file = path.with_name(f"{stem}_{path.stem[len(stem) :]}_id2file.json")
    if not file.is_file():
        return None
    try:
        names = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: not a JSON list of names ({error})") from None
    if not isinstance(names, list) or len(names) != count:
        raise DataError(f"{file}: expected a list of {count} names, one per row of {path.name}")
    return [str(name).removesuffix(".ply") for name in names]
