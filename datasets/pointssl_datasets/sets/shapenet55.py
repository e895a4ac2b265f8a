"""ShapeNet-55: 52,470 clouds of ShapeNetCore in 55 classes, as Point-BERT distributes them.

``ShapeNet-55/train.txt`` and ``test.txt`` list ``<synset>-<id>.npy``; the arrays ``(8192, 3)`` are
in ``shapenet_pc`` (Yu et al., PoinTr, ICCV 2021, and Point-BERT, CVPR 2022). The clouds were
sampled from ShapeNetCore's aligned meshes and keep their axes, +y up.
"""

from pathlib import Path

from pointssl_datasets.base.entry import Entry
from pointssl_datasets.base.errors import DataError, UsageError
from pointssl_datasets.base.paths import data_root, find_layout, stat_key
from pointssl_datasets.base.source import Cloud, Source
from pointssl_datasets.files.readers import read_cloud
from pointssl_datasets.layout.listings import read_lines, require_files, require_unique
from pointssl_datasets.sets.shapenet import SYNSETS, TERMS

COUNTS = {"train": 41952, "test": 10518}
_NAME = "shapenet55"
_LISTS, _ARRAYS = "ShapeNet-55", "shapenet_pc"
_LAYOUT = f"{_LISTS}/train.txt, {_LISTS}/test.txt and {_ARRAYS}/<synset>-<id>.npy"

ENTRIES = {
    "shapenet55": Entry(
        title="ShapeNet-55, 8192 points of each CAD model, as Point-BERT and Point-MAE read it",
        layout="shapenet_pc/SYNSET-NAME.npy, ShapeNet-55/{train,test}.txt",
        up_axis="y",
        classes=55,
        clouds=COUNTS,
        terms=TERMS,
        home="https://github.com/Julie-tang00/Point-BERT/blob/master/DATASET.md",
        gigabytes=5.2,
        folder="ShapeNet55-34",
        how="DATASET.md of Point-BERT links the archive of the clouds on shared drives, and "
        "https://github.com/yuxumin/PoinTr holds the lists in data/ShapeNet55-34/ShapeNet-55. Put "
        "both into one folder; or give archives of both with --from.",
    )
}


def open_shapenet55(root: Path | None, split: str) -> Source:
    """One split, y-up. Clouds are named ``<synset>/<id>``, as in all datasets from ShapeNet.

    Raises:
        DataError: the folder, a list or a listed file is missing.
        UsageError: a split other than train and test.
    """
    if split not in COUNTS:
        raise UsageError(f"{_NAME} has the splits train and test, not {split!r}")
    folder = find_layout(
        data_root(root, _NAME),
        lambda f: (f / _LISTS / f"{split}.txt").is_file() and (f / _ARRAYS).is_dir(),
        _NAME,
        _LAYOUT,
    )
    listing = folder / _LISTS / f"{split}.txt"
    # Only the last part of a path counts, so that no list leads out of the folder.
    files = [Path(line).name for line in read_lines(listing, _LAYOUT)]
    names = [file.removesuffix(".npy").replace("-", "/", 1) for file in files]
    require_unique(names, listing)
    paths = [folder / _ARRAYS / file for file in files]
    require_files(paths, listing)
    labels = {synset: label for label, synset in enumerate(SYNSETS)}

    def read(index: int) -> Cloud:
        synset = names[index].partition("/")[0]
        if synset not in labels:
            raise DataError(f"{paths[index]}: {synset!r} is not one of the 55 synsets of ShapeNet")
        return Cloud(xyz=read_cloud(paths[index])["xyz"], label=labels[synset])

    notes = []
    if len(files) != COUNTS[split]:
        notes.append(f"{_NAME}: {listing} lists {len(files)} clouds, the original {COUNTS[split]}")
    return Source(
        dataset=_NAME,
        split=split,
        classes=tuple(SYNSETS.values()),
        up_axis="y",
        key=stat_key([*paths, listing], split),
        names=names,
        read=read,
        notes=notes,
    )
