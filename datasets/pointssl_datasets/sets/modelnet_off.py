"""ModelNet10 and ModelNet40 as Princeton distributes them: meshes ``CLASS/{train,test}/name.off``.

Wu et al., 3D ShapeNets, CVPR 2015. z-up. Any number of classes is accepted.
"""

from pathlib import Path

from pointssl_datasets.base.entry import Archive, Entry
from pointssl_datasets.base.errors import DataError, UsageError
from pointssl_datasets.base.paths import data_root, find_layout, stat_key
from pointssl_datasets.base.source import Source
from pointssl_datasets.files.readers import MESH_POINTS
from pointssl_datasets.layout.pairs import Item, item_reader
from pointssl_datasets.layout.tree import check_name, entries, is_hidden, subfolders
from pointssl_datasets.sets.modelnet import HOME, TERMS

OFFICIAL = {40: {"train": 9843, "test": 2468}, 10: {"train": 3991, "test": 908}}
"""Number of classes -> number of meshes per split."""

_LAYOUT = "CLASS/train/name.off and CLASS/test/name.off, as in ModelNet40.zip"
_MODELNET40 = Archive(
    file_name="ModelNet40.zip",
    urls=(f"{HOME}/ModelNet40.zip", "http://modelnet.cs.princeton.edu/ModelNet40.zip"),
    size=2_039_180_837,
    sha256="42dc3e656932e387f554e25a4eb2cc0e1a1bd3ab54606e2a9eae444c60e536ac",
)
_MODELNET10 = Archive(
    file_name="ModelNet10.zip",
    urls=(
        "http://3dvision.princeton.edu/projects/2014/3DShapeNets/ModelNet10.zip",
        "http://vision.princeton.edu/projects/2014/3DShapeNets/ModelNet10.zip",
    ),
    size=473_402_300,
    sha256="9d8679435fc07d1d26f13009878db164a7aa8ea5e7ea3c8880e42794b7307d51",
)

ENTRIES = {
    "modelnet-off": Entry(
        title="ModelNet40 or ModelNet10 as CAD meshes, the original distribution",
        layout="CLASS/{train,test}/NAME.off",
        up_axis="z",
        by_classes=OFFICIAL,
        terms=TERMS,
        home=HOME,
        origin="download",
        folder="ModelNet",
        archives=(_MODELNET40,),
        others=(_MODELNET10,),
        how=f"That is ModelNet40; for ModelNet10 alone add --mirror {_MODELNET10.urls[0]}",
    )
}


def open_modelnet_off(root: Path | None, split: str, *, mesh_points: int | None = None) -> Source:
    """The original meshes, z-up; points are sampled uniformly by area, with normals.

    Args:
        root: ``ModelNet10``, ``ModelNet40``, or the folder that contains it.
        split: ``"train"`` or ``"test"``.
        mesh_points: points sampled from every mesh; None: 4096.

    Raises:
        DataError: no folders of this layout, or no meshes for the split.
        UsageError: a split other than train and test.
    """
    if split not in ("train", "test"):
        raise UsageError(f"modelnet-off has the splits train and test, not {split!r}")
    folder = find_layout(data_root(root, "modelnet-off"), _fits, "modelnet-off", _LAYOUT)
    classes = [name for name in subfolders(folder) if _is_class(folder / name)]
    items = []
    for label, name in enumerate(classes):
        check_name(name, folder)
        for file in _meshes(folder / name / split):
            items.append(Item(f"{name}/{file[:-4]}", folder / name / split / file, label))
    if not items:
        raise DataError(f"{folder}: no meshes for the split {split!r}. Expected {_LAYOUT}.")
    notes = []
    official = OFFICIAL.get(len(classes))
    if official is None:
        notes.append(f"modelnet-off: {folder} has {len(classes)} classes, the originals 10 or 40")
    elif len(items) != official[split]:
        notes.append(
            f"modelnet-off: {folder} has {len(items)} meshes for {split}, the original "
            f"ModelNet{len(classes)} {official[split]}"
        )
    points = mesh_points or MESH_POINTS
    return Source(
        dataset="modelnet-off",
        split=split,
        classes=tuple(classes),
        up_axis="z",
        key=stat_key([item.path for item in items], *classes, str(points)),
        names=[item.name for item in items],
        read=item_reader(items, points),
        notes=notes,
    )


def _fits(folder: Path) -> bool:
    return any(_is_class(folder / name) for name in subfolders(folder))


def _is_class(folder: Path) -> bool:
    return any(_meshes(folder / split) for split in ("train", "test"))


def _meshes(folder: Path) -> list[str]:
    """Names of the ``.off`` files, sorted."""
    if not folder.is_dir():
        return []
    names = [n for n in entries(folder)[0] if n.lower().endswith(".off") and not is_hidden(n)]
    for name in names:
        check_name(name, folder)
    return names
