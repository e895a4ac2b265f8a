"""ScanObjectNN: scanned objects in 15 classes (Uy et al., ICCV 2019), from its ``h5_files``.

Three variants: ``obj_bg`` (with background points), ``obj_only`` (without) and ``pb_t50_rs``, the
hardest: boxes shifted by up to half their size, rotated about the vertical and scaled. A file has
``data (M, 2048, 3)``, ``label (M,)`` and ``mask (M, 2048)``, which is -1 for background.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from pointssl_datasets.base.entry import Archive, Entry
from pointssl_datasets.base.errors import DataError, UsageError
from pointssl_datasets.base.paths import data_root, find_layout, stat_key
from pointssl_datasets.base.source import Cloud, Source
from pointssl_datasets.files.fields import check_xyz
from pointssl_datasets.files.hdf5_shards import open_shards, whole_numbers

CLASSES = (
    "bag", "bin", "box", "cabinet", "chair", "desk", "display", "door", "shelf", "table", "bed",
    "pillow", "sink", "sofa", "toilet",
)  # fmt: skip
PARTS = ("background", "object")


class _Variant(NamedTuple):
    folder: str
    suffix: str  # of the files' names
    counts: dict[str, int]  # official number of clouds per split


_PLAIN, _AUGMENTED = {"train": 2309, "test": 581}, {"train": 11416, "test": 2882}
_VARIANTS = {
    "obj_bg": _Variant("main_split", "", _PLAIN),
    "obj_only": _Variant("main_split_nobg", "", _PLAIN),
    "pb_t50_rs": _Variant("main_split", "_augmentedrot_scale75", _AUGMENTED),
}


def _entry(variant: str, title: str, layout: str) -> Entry:
    return Entry(
        title=f"ScanObjectNN {variant.upper()}: scanned objects {title}",
        layout=layout,
        up_axis="y",
        classes=len(CLASSES),
        clouds=_VARIANTS[variant].counts,
        terms="ScanObjectNN's terms of use, to be agreed to in a form: non-commercial research and "
        "education; cite Uy et al., ICCV 2019.",
        home="https://hkust-vgd.github.io/scanobjectnn/",
        folder="scanobjectnn",  # one archive holds all variants
        others=(
            Archive(
                file_name="h5_files.zip",
                size=13_099_259_542,
                md5="36876af479f9ad39abad5ebcd89038dd",
            ),
        ),
        how="Agree to the terms in the form that https://hkust-vgd.github.io/scanobjectnn/ links; "
        "it gives the address of h5_files.zip, which is for --mirror, or for your browser and then "
        "--from.",
    )


ENTRIES = {
    "scanobjectnn-obj_bg": _entry(
        "obj_bg", "with background", "main_split/{training,test}_objectdataset.h5"
    ),
    "scanobjectnn-obj_only": _entry(
        "obj_only", "without background", "main_split_nobg/{training,test}_objectdataset.h5"
    ),
    "scanobjectnn-pb_t50_rs": _entry(
        "pb_t50_rs",
        "moved, turned and scaled: the hardest",
        "main_split/{training,test}_objectdataset_augmentedrot_scale75.h5",
    ),
}


def open_obj_bg(root: Path | None, split: str) -> Source:
    """Objects with background: 2309 for training, 581 for testing; y-up.

    Raises:
        DataError: the file is missing or damaged, or its number of clouds is not the official one.
        UsageError: a split other than train and test.
    """
    return _open("obj_bg", root, split)


def open_obj_only(root: Path | None, split: str) -> Source:
    """The same objects without background. Raises as :func:`open_obj_bg` does."""
    return _open("obj_only", root, split)


def open_pb_t50_rs(root: Path | None, split: str) -> Source:
    """Five shifted, rotated and scaled boxes of each object: 11416 for training, 2882 for testing.

    Raises as :func:`open_obj_bg` does.
    """
    return _open("pb_t50_rs", root, split)


def _open(variant: str, root: Path | None, split: str) -> Source:
    name = f"scanobjectnn-{variant}"
    if split not in _PLAIN:
        raise UsageError(f"{name} has the splits train and test, not {split!r}")
    subfolder, suffix, _ = _VARIANTS[variant]
    file = f"{'training' if split == 'train' else 'test'}_objectdataset{suffix}.h5"
    folder = find_layout(
        data_root(root, name),
        lambda f: _find_file(f, subfolder, file) is not None,
        name,
        f"h5_files/{subfolder}/{file}",
    )
    path = _find_file(folder, subfolder, file)
    assert path is not None  # find_layout just found it
    shards = open_shards([path], {"data": (None, 3), "label": ()}, {"mask": (None,)})
    _check_count(path, variant, split, shards.count)

    def read(index: int) -> Cloud:
        where = shards.where(index)
        xyz, label, *mask = shards.read(index)
        label = whole_numbers(label, range(len(CLASSES)), where, "label")
        cloud = Cloud(xyz=check_xyz(xyz, where), label=int(label.item()))
        if mask:
            if mask[0].shape != (len(xyz),):
                raise DataError(f"{where}: 'mask' has {len(mask[0])} values for {len(xyz)} points")
            cloud["part"] = (mask[0] != -1).astype(np.int64)
        return cloud

    return Source(
        dataset=name,
        split=split,
        classes=CLASSES,
        parts=PARTS if "mask" in shards.keys else (),
        up_axis="y",
        key=stat_key([path], split),
        names=shards.names,
        read=read,
    )


def _find_file(folder: Path, subfolder: str, file: str) -> Path | None:
    """The file, if ``folder`` is the unpacked archive, its ``h5_files``, or ``subfolder`` itself.

    ``main_split`` and ``main_split_nobg`` contain files of the same names, so that only the name of
    the folder distinguishes them.
    """
    candidates = [folder / "h5_files" / subfolder / file, folder / subfolder / file]
    if folder.name == subfolder:
        candidates.append(folder / file)
    return next((path for path in candidates if path.is_file()), None)


def _check_count(path: Path, variant: str, split: str, count: int) -> None:
    """Refuses a file of another variant or split, whose accuracy compares with nothing."""
    official = _VARIANTS[variant].counts[split]
    if count == official:
        return
    other = "test" if split == "train" else "train"
    same = [
        f"{name} {part}"
        for name, known in _VARIANTS.items()
        for part, number in known.counts.items()
        if number == count
    ]
    if count == _VARIANTS[variant].counts[other]:
        guess = f"as many as in its {other} split: the two files may be swapped"
    elif same:
        guess = f"as many as in {' or '.join(same)}: it may be that file under another name"
    elif count < official:
        guess = "fewer: the file may be incomplete, or from one of the splits 1 to 4"
    else:
        guess = "more: it may be another variant, or several files joined"
    raise DataError(
        f"{path}: {count} clouds, but scanobjectnn-{variant} officially has {official} for "
        f"{split}. These are {guess}. Take the file from the official h5_files."
    )
