"""ModelNet40 with normals: ``modelnet40_normal_resampled`` (Qi et al., PointNet++, NeurIPS 2017).

``<class>/<class>_0001.txt`` with 10,000 lines ``x,y,z,nx,ny,nz``; ``modelnet40_train.txt`` and
``modelnet40_test.txt`` list the shapes, ``modelnet40_shape_names.txt`` the classes.
"""

from pathlib import Path

from pointssl_datasets.base.entry import HUGGING_FACE, STANFORD, Archive, Entry
from pointssl_datasets.base.errors import DataError, UsageError
from pointssl_datasets.base.paths import data_root, find_layout, stat_key
from pointssl_datasets.base.source import Cloud, Source
from pointssl_datasets.files.fields import check_xyz, unit_normals
from pointssl_datasets.files.text_table import read_table
from pointssl_datasets.layout.listings import read_lines, require_files, require_unique
from pointssl_datasets.sets.modelnet import HOME, TERMS

POINTS = 10_000  # of every shape; without this check a truncated text file would be accepted
_NAME = "modelnet40-normal"
_CLASSES = "modelnet40_shape_names.txt"
_LAYOUT = (
    "the layout of modelnet40_normal_resampled: modelnet40_train.txt, modelnet40_test.txt, "
    f"{_CLASSES} and <class>/<class>_0001.txt"
)
_PICKLES = (
    "The .dat files beside it are pickles, which are never loaded: unpack the whole of "
    "modelnet40_normal_resampled.zip."
)

ENTRIES = {
    "modelnet40-normal": Entry(
        title="ModelNet40, 10000 points of each CAD model with normals, as PointNet++ reads it",
        layout="modelnet40_{train,test}.txt, modelnet40_shape_names.txt, CLASS/CLASS_0001.txt",
        up_axis="y",
        classes=40,
        clouds={"train": 9843, "test": 2468},
        terms=TERMS,
        home=HOME,
        gigabytes=6.8,
        origin="download",
        folder="modelnet40_normal_resampled",
        archives=(
            Archive(
                file_name="modelnet40_normal_resampled.zip",
                urls=(
                    f"{HUGGING_FACE}/cminst/ModelNet40/resolve/main/modelnet40_normal_resampled.zip",
                    f"{STANFORD}/modelnet40_normal_resampled.zip",
                ),
            ),
        ),
    )
}


def open_modelnet40_normal(root: Path | None, split: str) -> Source:
    """ModelNet40 with 10,000 points and unit normals per shape; y-up.

    Raises:
        DataError: the folder, a list or a listed file is missing.
        UsageError: a split other than train and test.
    """
    if split not in ("train", "test"):
        raise UsageError(f"{_NAME} has the splits train and test, not {split!r}")
    folder = find_layout(
        data_root(root, _NAME), lambda f: (f / f"modelnet40_{split}.txt").is_file(), _NAME, _LAYOUT
    )
    classes = read_lines(folder / _CLASSES, _LAYOUT)
    listing = folder / f"modelnet40_{split}.txt"
    # Only the last part of a path counts, so that no list leads out of the folder.
    shapes = [Path(line).name for line in read_lines(listing, _LAYOUT)]
    kinds = [shape.rpartition("_")[0] for shape in shapes]  # night_stand_0003 -> night_stand
    names = [f"{kind}/{shape}" for kind, shape in zip(kinds, shapes, strict=True)]
    require_unique(names, listing)
    paths = [folder / f"{name}.txt" for name in names]
    require_files(paths, listing, _PICKLES if any(folder.glob("*.dat")) else "")
    labels = {kind: label for label, kind in enumerate(classes)}

    def read(index: int) -> Cloud:
        if kinds[index] not in labels:
            raise DataError(
                f"{paths[index]}: {kinds[index]!r} is not one of the {len(classes)} classes of "
                f"{_CLASSES}"
            )
        return _read(paths[index], labels[kinds[index]])

    notes = []
    if len(classes) != 40:
        notes.append(f"{_NAME}: {folder} has {len(classes)} classes, the original 40")
    return Source(
        dataset=_NAME,
        split=split,
        classes=tuple(classes),
        up_axis="y",
        key=stat_key([*paths, folder / _CLASSES, listing], split),
        names=names,
        read=read,
        notes=notes,
    )


def _read(path: Path, label: int) -> Cloud:
    table = read_table(path)
    if table.shape[1] != 6:
        raise DataError(f"{path}: expected lines x,y,z,nx,ny,nz, found {table.shape[1]} columns")
    if len(table) != POINTS:
        raise DataError(
            f"{path}: {len(table)} points, but every shape has {POINTS}: cut short? Unpack it "
            "again. Clouds of your own are read by --data folder."
        )
    cloud = Cloud(xyz=check_xyz(table[:, :3], str(path)), label=label)
    normals = unit_normals(table[:, 3:])
    if normals is None:
        raise DataError(f"{path}: its normals are not of unit length")
    cloud["normals"] = normals
    return cloud
