"""What every dataset promises, whatever its layout: one test of each promise, for all of them."""

import copy
import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

import h5py
import layouts
import numpy as np
import pytest

from pointssl_datasets import DATASETS
from pointssl_datasets.base.axes import TO_Y_UP
from pointssl_datasets.base.errors import DataError, UsageError
from pointssl_datasets.base.resolve import resolve
from pointssl_datasets.base.source import Source
from pointssl_datasets.catalogue import CATALOGUE
from pointssl_datasets.packing.arrays import read_array
from pointssl_datasets.packing.pack import pack


def spoil_row(file: str, row: int, key: str = "data") -> Callable[[Path], None]:
    """One value of a row of an HDF5 file is no number any more."""

    def spoil(root: Path) -> None:
        with h5py.File(root / file, "a") as h5:
            h5[key][row, 0, 0] = np.nan

    return spoil


def cut(file: str) -> Callable[[Path], None]:
    """A file loses its second half."""

    def spoil(root: Path) -> None:
        raw = (root / file).read_bytes()
        (root / file).write_bytes(raw[: len(raw) // 2 - 1])

    return spoil


@dataclasses.dataclass(frozen=True)
class Case:
    """A dataset in one layout.

    Attributes:
        name: as ``DATASETS`` has it.
        write: makes a small dataset of that layout in a folder.
        spoil: damages the cloud number ``bad`` of the train split; None: clouds are generated.
        options: for the opener.
    """

    name: str
    write: Callable[[Path], object] = lambda root: root.mkdir()
    bad: int = 0
    spoil: Callable[[Path], None] | None = None
    options: dict = dataclasses.field(default_factory=dict)

    def open(self, root: Path | None, split: str = "train", **more) -> Source:
        opener = resolve(self.name, DATASETS, "dataset")
        return opener(root, split, **{**self.options, **more})


SCAN = "h5_files/{}/training_objectdataset{}.h5"
CASES = [
    Case("shapes", options={"size": 20}),
    Case("primitives", options={"size": 6}),
    Case("modelnet40", layouts.write_modelnet_hdf5, 4, spoil_row("ply_data_train1.h5", 1)),
    Case("modelnet10", layouts.write_modelnet_hdf5, 4, spoil_row("ply_data_train1.h5", 1)),
    Case("modelnet40-normal", layouts.write_modelnet_normal, 1, cut("chair/chair_0001.txt")),
    Case("modelnet-off", layouts.write_modelnet_off, 0, cut("bed/train/bed_0001.off")),
    Case(
        "scanobjectnn-obj_bg",
        layouts.write_scanobjectnn,
        2308,
        spoil_row(SCAN.format("main_split", ""), 2308),
    ),
    Case(
        "scanobjectnn-obj_only",
        lambda root: layouts.write_scanobjectnn(root, "obj_only"),
        7,
        spoil_row(SCAN.format("main_split_nobg", ""), 7),
    ),
    Case(
        "scanobjectnn-pb_t50_rs",
        lambda root: layouts.write_scanobjectnn(root, "pb_t50_rs"),
        64,
        spoil_row(SCAN.format("main_split", "_augmentedrot_scale75"), 64),
    ),
    # HDF5, text, and text with normals.
    Case("shapenetpart", layouts.write_shapenetpart_hdf5, 9, spoil_row("ply_data_train1.h5", 1)),
    Case("shapenetpart", layouts.write_shapenetpart_text, 15, cut("02691156/points/train0.pts")),
    Case(
        "shapenetpart",
        lambda root: layouts.write_shapenetpart_text(root, normal=True),
        14,
        cut("02773838/train0.txt"),
    ),
    Case("shapenet55", layouts.write_shapenet55, 1, cut("shapenet_pc/02691156-train1ab-c.npy")),
    Case("shapenet-render", layouts.write_shapenet_render, 1, cut("ShapeNet/02942699/id1.ply")),
    # Blocks, and rooms.
    Case("s3dis", layouts.write_s3dis_blocks, 2, spoil_row("ply_data_all_0.h5", 2)),
    Case("s3dis", layouts.write_s3dis_rooms, 1, cut("Area_1_office_1.npy")),
    Case("folder", layouts.write_folder, 2, cut("train/chair/m0.npy")),
]
STORED = [case for case in CASES if case.spoil]


@pytest.fixture(params=CASES, ids=lambda case: case.name)
def case(request) -> Case:
    return request.param


@pytest.fixture(params=STORED, ids=lambda case: case.name)
def stored(request) -> Case:
    return request.param


@pytest.fixture
def root(tmp_path) -> Path:
    return tmp_path / "data"


def some(source: Source) -> list[int]:
    """A few of many: the first and last ones, and those around the edge of a block of rows."""
    return sorted({i for i in (*range(20), 63, 64, source.count - 1) if i < source.count})


def same(one, other) -> bool:
    if one.keys() != other.keys():
        return False
    return all(np.array_equal(value, other[key]) for key, value in one.items())


def test_every_dataset_is_held_to_it():
    assert {case.name for case in CASES} == set(DATASETS) - {"packed"}


def test_names_are_unique_and_plain(case, root):
    case.write(root)
    source = case.open(root)
    names = list(source.names)
    assert source.count == len(names) == len(set(names)) > 1
    assert all(type(name) is str and name and not set(name) & set("\t\n\\") for name in names)
    assert source.split == "train"
    assert source.up_axis == CATALOGUE[case.name].up_axis
    assert isinstance(source.classes, tuple)
    assert len(set(source.classes)) == len(source.classes)


def test_clouds_are_what_the_type_says(case, root):
    case.write(root)
    source = case.open(root)
    for index in some(source):
        cloud = source.read(index)
        xyz = cloud["xyz"]
        assert xyz.dtype == np.float32
        assert xyz.ndim == 2
        assert xyz.shape[1] == 3
        assert np.isfinite(xyz).all()
        if source.classes:
            assert type(cloud["label"]) is int
            assert 0 <= cloud["label"] < len(source.classes)
        assert ("part" in cloud) == bool(source.parts)
        if source.parts:
            assert cloud["part"].dtype == np.int64
            assert cloud["part"].shape == (len(xyz),)
            assert 0 <= cloud["part"].min() <= cloud["part"].max() < len(source.parts)
        if "normals" in cloud:
            assert cloud["normals"].dtype == np.float32
            np.testing.assert_allclose(np.linalg.norm(cloud["normals"], axis=1), 1, atol=1e-5)
        if "colours" in cloud:
            assert cloud["colours"].dtype == np.float32
            assert cloud["colours"].shape == xyz.shape
            assert 0 <= cloud["colours"].min() <= cloud["colours"].max() <= 1


def test_reading_depends_on_the_number_alone(case, root):
    """Not on what was read before, nor on how often."""
    case.write(root)
    source, again = case.open(root), case.open(root)
    wanted = some(source)
    backwards = {i: copy.deepcopy(again.read(i)) for i in reversed(wanted)}
    assert len(wanted) > 1
    for index in wanted:
        first = source.read(index)
        for value in first.values():  # the caller may do what it likes with its cloud
            if isinstance(value, np.ndarray):
                value += 1
        assert same(source.read(index), backwards[index])
    assert not same(source.read(wanted[0]), source.read(wanted[1]))


def test_the_splits_differ(case, root):
    case.write(root)
    if case.name == "shapenet-render":
        pytest.skip("has one split")
    train, test = case.open(root), case.open(root, "test")
    assert train.key != test.key
    assert train.classes == test.classes
    assert not same(train.read(0), test.read(0))


def test_the_key_follows_the_content(stored, root):
    stored.write(root)
    before = stored.open(root).key
    assert stored.open(root).key == before
    stored.spoil(root)
    assert stored.open(root).key != before


@pytest.mark.parametrize("name", ["shapes", "primitives"])
def test_the_key_of_what_is_made_follows_seed_and_size(name):
    case = next(case for case in CASES if case.name == name)
    keys = [case.open(None, **more).key for more in ({}, {"seed": 1}, {"size": 4}, {})]
    assert keys[0] == keys[3]
    assert len(set(keys)) == 3


def test_other_splits_are_refused(case, root):
    case.write(root)
    with pytest.raises(UsageError, match="nosuch") as caught:
        case.open(root, "nosuch")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("state", ["missing", "empty", "file"])
def test_a_missing_folder_is_said_in_one_line(stored, root, state):
    if state == "empty":
        root.mkdir()
    elif state == "file":
        root.write_text("no folder")
    with pytest.raises(DataError, match=str(root)) as caught:
        stored.open(root)
    assert "\n" not in str(caught.value)


def test_a_damaged_cloud_is_the_only_one(stored, root):
    stored.write(root)
    whole = stored.open(root)
    expected = {i: whole.read(i) for i in some(whole) if i != stored.bad}
    stored.spoil(root)
    source = stored.open(root)
    assert list(source.names) == list(whole.names)
    with pytest.raises(DataError) as caught:
        source.read(stored.bad)
    assert "\n" not in str(caught.value)
    assert str(root) in str(caught.value)  # says where
    for index, cloud in expected.items():
        assert same(source.read(index), cloud)


def test_the_folder_above_will_do(stored, root):
    stored.write(root)
    if stored.name == "folder":
        pytest.skip("takes any folder as its own")
    assert stored.open(root.parent).names == stored.open(root).names


def test_it_packs_y_up(case, root, tmp_path):
    case.write(root)
    source = case.open(root)
    keep = min(source.count, 40)  # thousands of clouds prove no more
    source = dataclasses.replace(source, names=list(source.names)[:keep], key=f"{source.key}-few")
    folder = pack(source, normalise="none", cache_dir=tmp_path / "cache", progress=False)
    offsets, xyz = read_array(folder, "offsets"), read_array(folder, "xyz")
    assert len(offsets) == keep + 1
    for index in (0, keep - 1):
        stored = source.read(index)["xyz"] @ TO_Y_UP[CATALOGUE[case.name].up_axis].T
        np.testing.assert_array_equal(xyz[offsets[index] : offsets[index + 1]], stored)


def test_relative_roots_and_links(stored, root, monkeypatch):
    stored.write(root)
    monkeypatch.chdir(root.parent)
    os.symlink(root, root.parent / "link")
    assert stored.open(Path("data")).key == stored.open(Path("link")).key == stored.open(root).key
