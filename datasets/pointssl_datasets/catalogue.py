"""What is known of every dataset: layout, size, terms, where to get it, official counts.

Checksums and sizes are those that others published for the very same archives; where nobody did,
they are None, and a download records what it received instead.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pointssl_datasets.base.errors import UsageError
from pointssl_datasets.base.resolve import nearest

_STANFORD = "https://shapenet.cs.stanford.edu/media"
_HUB = "https://huggingface.co/datasets"


@dataclass(frozen=True, kw_only=True)
class Archive:
    """One file to download: mirrors in the order in which they are tried."""

    file_name: str
    urls: tuple[str, ...] = ()
    size: int | None = None  # bytes, where it is known
    sha256: str | None = None  # hex, where somebody published it
    md5: str | None = None


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What ``pointssl data list`` shows, ``download`` fetches and ``check`` compares with."""

    title: str  # one line
    layout: str  # files and folders that are expected
    up_axis: str
    classes: int | None = None  # None: any number
    clouds: Mapping[str, int] = field(default_factory=dict)  # official number per split
    by_classes: Mapping[int, Mapping[str, int]] = field(default_factory=dict)
    """The same for a layout that several datasets share, by their number of classes."""
    terms: str = ""  # one or two sentences; shown before a download
    home: str = ""  # the page to read
    gigabytes: float | None = None  # unpacked, about
    origin: Literal["download", "by hand", "generated", "your own"] = "by hand"
    folder: str = ""  # below the data folder, what a download is unpacked to
    archives: tuple[Archive, ...] = ()  # all are needed; none: how to get it is said in ``how``
    others: tuple[Archive, ...] = ()  # further known ones, for --from and --mirror
    how: str = ""  # what to do by hand, or further ways

    def official(self, split: str, classes: int | None = None) -> int | None:
        """Clouds that the original has in ``split``, None where no number is official."""
        counts = self.by_classes.get(classes, {}) if classes is not None else {}
        return counts.get(split, self.clouds.get(split))


_MODELNET_TERMS = (
    "For academic research only. The CAD models come from the web and their authors keep the "
    "copyright; cite Wu et al., 3D ShapeNets, CVPR 2015."
)
_SHAPENET_TERMS = (
    "ShapeNet's terms of use: non-commercial research and education only, no redistribution; "
    "cite Chang et al., ShapeNet, 2015."
)
_SCANOBJECTNN_TERMS = (
    "ScanObjectNN's terms of use, to be agreed to in a form: non-commercial research and "
    "education; cite Uy et al., ICCV 2019."
)
_SCANOBJECTNN_HOW = (
    "Agree to the terms in the form that https://hkust-vgd.github.io/scanobjectnn/ links; it gives "
    "the address of h5_files.zip, which is for --mirror, or for your browser and then --from."
)
_HDF5_LAYOUT = "train_files.txt, test_files.txt, shape_names.txt and the .h5 files that they list"
_PRINCETON = "https://modelnet.cs.princeton.edu"

_MODELNET40_OFF = Archive(
    file_name="ModelNet40.zip",
    urls=(f"{_PRINCETON}/ModelNet40.zip", "http://modelnet.cs.princeton.edu/ModelNet40.zip"),
    size=2_039_180_837,
    sha256="42dc3e656932e387f554e25a4eb2cc0e1a1bd3ab54606e2a9eae444c60e536ac",
)
_MODELNET10_OFF = Archive(
    file_name="ModelNet10.zip",
    urls=(
        "http://3dvision.princeton.edu/projects/2014/3DShapeNets/ModelNet10.zip",
        "http://vision.princeton.edu/projects/2014/3DShapeNets/ModelNet10.zip",
    ),
    size=473_402_300,
    sha256="9d8679435fc07d1d26f13009878db164a7aa8ea5e7ea3c8880e42794b7307d51",
)


def _scanobjectnn(variant: str, what: str, layout: str, train: int, test: int) -> Entry:
    return Entry(
        title=f"ScanObjectNN {variant}: scanned objects {what}",
        layout=layout,
        up_axis="y",
        classes=15,
        clouds={"train": train, "test": test},
        terms=_SCANOBJECTNN_TERMS,
        home="https://hkust-vgd.github.io/scanobjectnn/",
        folder="scanobjectnn",  # one archive holds all variants
        others=(
            Archive(
                file_name="h5_files.zip",
                size=13_099_259_542,
                md5="36876af479f9ad39abad5ebcd89038dd",
            ),
        ),
        how=_SCANOBJECTNN_HOW,
    )


CATALOGUE: dict[str, Entry] = {
    "shapes": Entry(
        title="Generated objects with the categories and parts of ShapeNetPart",
        layout="none: generated; --size and --data-seed choose",
        up_axis="y",
        classes=16,
        origin="generated",
        how="--data shapes generates it.",
    ),
    "primitives": Entry(
        title="Generated compositions of primitives, with pictures and without classes",
        layout="none: generated; --size and --data-seed choose",
        up_axis="y",
        origin="generated",
        how="--data primitives generates it.",
    ),
    "modelnet40": Entry(
        title="ModelNet40, 2048 points of each CAD model, as PointNet and DGCNN read it",
        layout=_HDF5_LAYOUT,
        up_axis="y",
        classes=40,
        clouds={"train": 9840, "test": 2468},
        terms=_MODELNET_TERMS,
        home=_PRINCETON,
        gigabytes=0.4,
        origin="download",
        folder="modelnet40_ply_hdf5_2048",
        archives=(
            Archive(
                file_name="modelnet40_ply_hdf5_2048.zip",
                urls=(
                    f"{_HUB}/Msun/modelnet40/resolve/main/modelnet40_ply_hdf5_2048.zip",
                    f"{_STANFORD}/modelnet40_ply_hdf5_2048.zip",
                ),
                size=435_212_151,
                sha256="07670e237db72ece0f723b9abb571534c9ad655a6456b389646587dc72bb8bae",
            ),
        ),
    ),
    "modelnet10": Entry(
        title="ModelNet10 in the layout of modelnet40_ply_hdf5_2048",
        layout=_HDF5_LAYOUT,
        up_axis="z",
        classes=10,
        clouds={"train": 3991, "test": 908},
        terms=_MODELNET_TERMS,
        home=_PRINCETON,
        folder="modelnet10_hdf5",
        how="Nobody distributes it in this layout: get the meshes of modelnet-off and turn them "
        "into it with `pointssl data convert --data modelnet-off --to hdf5 --points 2048`.",
    ),
    "modelnet40-normal": Entry(
        title="ModelNet40, 10000 points of each CAD model with normals, as PointNet++ reads it",
        layout="modelnet40_{train,test}.txt, modelnet40_shape_names.txt, CLASS/CLASS_0001.txt",
        up_axis="y",
        classes=40,
        clouds={"train": 9843, "test": 2468},
        terms=_MODELNET_TERMS,
        home=_PRINCETON,
        gigabytes=6.8,
        origin="download",
        folder="modelnet40_normal_resampled",
        archives=(
            Archive(
                file_name="modelnet40_normal_resampled.zip",
                urls=(
                    f"{_HUB}/cminst/ModelNet40/resolve/main/modelnet40_normal_resampled.zip",
                    f"{_STANFORD}/modelnet40_normal_resampled.zip",
                ),
            ),
        ),
    ),
    "modelnet-off": Entry(
        title="ModelNet40 or ModelNet10 as CAD meshes, the original distribution",
        layout="CLASS/{train,test}/NAME.off",
        up_axis="z",
        by_classes={
            40: {"train": 9843, "test": 2468},
            10: {"train": 3991, "test": 908},
        },
        terms=_MODELNET_TERMS,
        home=_PRINCETON,
        origin="download",
        folder="ModelNet",
        archives=(_MODELNET40_OFF,),
        others=(_MODELNET10_OFF,),
        how=f"That is ModelNet40; for ModelNet10 alone add --mirror {_MODELNET10_OFF.urls[0]}",
    ),
    "scanobjectnn-obj_bg": _scanobjectnn(
        "OBJ_BG",
        "with background",
        "main_split/{training,test}_objectdataset.h5",
        2309,
        581,
    ),
    "scanobjectnn-obj_only": _scanobjectnn(
        "OBJ_ONLY",
        "without background",
        "main_split_nobg/{training,test}_objectdataset.h5",
        2309,
        581,
    ),
    "scanobjectnn-pb_t50_rs": _scanobjectnn(
        "PB_T50_RS",
        "moved, turned and scaled: the hardest",
        "main_split/{training,test}_objectdataset_augmentedrot_scale75.h5",
        11416,
        2882,
    ),
    "shapenetpart": Entry(
        title="ShapeNetPart: 16 categories with 50 parts",
        layout="train_test_split/*.json, synsetoffset2category.txt, SYNSET/NAME.txt; or the HDF5 "
        "files of shapenet_part_seg_hdf5_data",
        up_axis="y",
        classes=16,
        clouds={"train": 12137, "val": 1870, "test": 2874},
        terms=_SHAPENET_TERMS,
        home="https://cs.stanford.edu/~ericyi/project_page/part_annotation/",
        gigabytes=2.7,
        origin="download",
        folder="shapenetpart",
        archives=(
            Archive(
                file_name="shapenetcore_partanno_segmentation_benchmark_v0_normal.zip",
                urls=(
                    f"{_HUB}/cminst/ShapeNet/resolve/main/"
                    "shapenetcore_partanno_segmentation_benchmark_v0_normal.zip",
                    "https://omnomnom.vision.rwth-aachen.de/data/point2vec/data/"
                    "shapenetcore_partanno_segmentation_benchmark_v0_normal.zip",
                    f"{_STANFORD}/shapenetcore_partanno_segmentation_benchmark_v0_normal.zip",
                ),
                sha256="0e26411700bae2da38ee8ecc719ba4db2e6e0133486e258665952ad5dfced0fe",
            ),
        ),
        others=(
            Archive(
                file_name="shapenet_part_seg_hdf5_data.zip",
                urls=(f"{_STANFORD}/shapenet_part_seg_hdf5_data.zip",),
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
        f"{_STANFORD}/shapenet_part_seg_hdf5_data.zip with --mirror, or your browser and --from.",
    ),
    "shapenet55": Entry(
        title="ShapeNet-55, 8192 points of each CAD model, as Point-BERT and Point-MAE read it",
        layout="shapenet_pc/SYNSET-NAME.npy, ShapeNet-55/{train,test}.txt",
        up_axis="y",
        classes=55,
        clouds={"train": 41952, "test": 10518},
        terms=_SHAPENET_TERMS,
        home="https://github.com/Julie-tang00/Point-BERT/blob/master/DATASET.md",
        gigabytes=5.2,
        folder="ShapeNet55-34",
        how="DATASET.md of Point-BERT links the archive of the clouds on shared drives, and "
        "https://github.com/yuxumin/PoinTr holds the lists in data/ShapeNet55-34/ShapeNet-55. Put "
        "both into one folder; or give archives of both with --from.",
    ),
    "shapenet-render": Entry(
        title="ShapeNet clouds paired with rendered pictures, as CrossPoint reads it",
        layout="ShapeNet/SYNSET/NAME.ply, ShapeNetRendering/SYNSET/NAME/rendering/*.png",
        up_axis="y",
        terms=_SHAPENET_TERMS,
        home="https://github.com/MohamedAfham/CrossPoint",
        folder="shapenet-render",
        how="CrossPoint's README links the archives on a shared drive: give shapenet.tar.gz and "
        "shapenet_render.tar.gz with --from, once each.",
    ),
    "s3dis": Entry(
        title="S3DIS: blocks or rooms of six office areas, 13 kinds of parts; Area 5 is for test",
        layout="all_files.txt, room_filelist.txt and the ply_data_all_*.h5 that they list; or "
        "Area_N_ROOM.npy",
        up_axis="z",
        classes=11,  # of rooms
        terms="S3DIS' terms of use, to be agreed to in a form: for research; cite Armeni et al., "
        "CVPR 2016.",
        home="http://buildingparser.stanford.edu/dataset.html",
        folder="s3dis",
        others=(
            Archive(
                file_name="indoor3d_sem_seg_hdf5_data.zip",
                urls=(
                    f"{_HUB}/cminst/S3DIS/resolve/main/indoor3d_sem_seg_hdf5_data.zip",
                    f"{_STANFORD}/indoor3d_sem_seg_hdf5_data.zip",
                ),
            ),
        ),
        how="Agree to the terms in the form that http://buildingparser.stanford.edu/dataset.html "
        "links. The blocks that PointNet made of it are then had with --mirror "
        f"{_HUB}/cminst/S3DIS/resolve/main/indoor3d_sem_seg_hdf5_data.zip",
    ),
    "folder": Entry(
        title="Your own clouds or meshes, with or without pictures",
        layout="{train,test}/CLASS/NAME.EXT, or CLASS/NAME.EXT",
        up_axis="y",
        origin="your own",
        how="Put your files into folders by class; --data folder --data-root FOLDER reads them.",
    ),
    "packed": Entry(
        title="What `pointssl data convert` wrote",
        layout="SPLIT/meta.json beside memory-mapped arrays",
        up_axis="y",
        origin="your own",
        how="`pointssl data convert` makes it of any other dataset.",
    ),
}
"""By name, for every key of ``DATASETS``."""


def find_entry(name: str) -> Entry:
    """The entry of a dataset.

    Raises:
        UsageError: there is no dataset of that name.
    """
    if name not in CATALOGUE:
        raise UsageError(
            f"unknown dataset {name!r}{nearest(name, list(CATALOGUE)) or '.'} "
            f"Known: {', '.join(CATALOGUE)}."
        )
    return CATALOGUE[name]


def splits_of(name: str) -> tuple[str, ...]:
    """The splits that a dataset may have, none of them part of another, in the usual order."""
    entry = CATALOGUE.get(name)
    known = entry.clouds if entry and entry.clouds else ("train", "val", "test")
    return tuple(split for split in known if split != "trainval")
