"""ScanObjectNN: which file is which variant, and that nobody gets another one."""

import shutil

import h5py
import layouts
import numpy as np
import pytest

from pointssl_datasets.base.errors import DataError
from pointssl_datasets.sets.scanobjectnn import CLASSES, open_obj_bg, open_obj_only, open_pb_t50_rs

OPENERS = {"obj_bg": open_obj_bg, "obj_only": open_obj_only, "pb_t50_rs": open_pb_t50_rs}
TRAIN = "h5_files/main_split/training_objectdataset.h5"
TEST = "h5_files/main_split/test_objectdataset.h5"
HARD_TEST = "h5_files/main_split/test_objectdataset_augmentedrot_scale75.h5"


def change(path, key, value):
    with h5py.File(path, "a") as file:
        if key in file:
            del file[key]
        if value is not None:
            file[key] = value


@pytest.mark.parametrize(
    ("variant", "train", "test"),
    [("obj_bg", 2309, 581), ("obj_only", 2309, 581), ("pb_t50_rs", 11416, 2882)],
)
def test_official_counts(tmp_path, variant, train, test):
    root = layouts.write_scanobjectnn(tmp_path, variant, count=2)
    opener = OPENERS[variant]
    assert (opener(root, "train").count, opener(root, "test").count) == (train, test)
    assert opener(root, "train").dataset == f"scanobjectnn-{variant}"
    others = [name for name in OPENERS if name != variant]
    for name in others:  # none takes another one's file
        with pytest.raises(DataError, match=f"scanobjectnn-{name}: not found"):
            OPENERS[name](root, "train")


def test_the_mask_becomes_parts(tmp_path):
    root = layouts.write_scanobjectnn(tmp_path, splits=("train",))
    source = open_obj_bg(root, "train")
    assert source.parts == ("background", "object")
    with h5py.File(root / TRAIN) as file:
        masks = file["mask"][:70]
    assert set(np.unique(masks)) == {-1, 0, 1}  # an object's number may be 0
    for row in (0, 69):
        expected = [0 if value == -1 else 1 for value in masks[row]]
        assert source.read(row)["part"].tolist() == expected
    assert source.names[69] == "training_objectdataset/00069"
    assert [CLASSES[source.read(i)["label"]] for i in (0, 10, 14)] == ["bag", "bed", "toilet"]


def test_without_a_mask_there_are_no_parts(tmp_path):
    root = layouts.write_scanobjectnn(tmp_path, mask=False, splits=("train",))
    source = open_obj_bg(root, "train")
    assert source.parts == ()
    assert "part" not in source.read(0)


def test_any_folder_on_the_way_will_do(tmp_path):
    layouts.write_scanobjectnn(tmp_path / "data/ScanObjectNN", count=2)
    layouts.write_scanobjectnn(tmp_path / "data/ScanObjectNN", "obj_only", count=3)
    for way in ("data", "data/ScanObjectNN", "data/ScanObjectNN/h5_files"):
        assert open_obj_bg(tmp_path / way, "test").read(0)["xyz"].shape == (2, 3)
        assert open_obj_only(tmp_path / way, "test").read(0)["xyz"].shape == (3, 3)
    inner = tmp_path / "data/ScanObjectNN/h5_files/main_split"
    assert open_obj_bg(inner, "test").read(0)["xyz"].shape == (2, 3)
    with pytest.raises(DataError, match=r"main_split_nobg/test_objectdataset.h5"):
        open_obj_only(inner, "test")


def test_swapped_files(tmp_path):
    root = layouts.write_scanobjectnn(tmp_path, count=2)
    (root / TRAIN).rename(root / "keep.h5")
    shutil.copy(root / TEST, root / TRAIN)
    with pytest.raises(DataError) as caught:
        open_obj_bg(root, "train")
    assert "581 clouds, but scanobjectnn-obj_bg officially has 2309 for train" in str(caught.value)
    assert "as many as in its test split" in str(caught.value)


def test_another_variant_under_this_name(tmp_path):
    root = layouts.write_scanobjectnn(tmp_path, "pb_t50_rs", count=2)
    shutil.move(root / HARD_TEST, root / TEST)
    with pytest.raises(DataError, match=r"2882 clouds, .*as many as in pb_t50_rs test"):
        open_obj_bg(root, "test")


def test_a_part_of_the_set(tmp_path):
    root = layouts.write_scanobjectnn(tmp_path, count=2)
    with h5py.File(root / TEST) as file:
        rows = {key: file[key][:500] for key in file}
    layouts.write_hdf5(root / TEST, **rows)
    with pytest.raises(DataError, match=r"500 clouds, .* officially has 581 for test.*incomplete"):
        open_obj_bg(root, "test")


def test_a_label_outside_of_the_classes_is_one_clouds_problem(tmp_path):
    root = layouts.write_scanobjectnn(tmp_path, count=2)
    labels = np.arange(581) % 15
    labels[3] = 15
    change(root / TEST, "label", labels)
    source = open_obj_bg(root, "test")
    source.read(2)
    with pytest.raises(DataError, match="row 3: the label is not from 0 to 14: 15"):
        source.read(3)


WRONG = {
    "no labels": ("label", None, "expected the keys 'data', 'label'; found data, mask"),
    "labels": ("label", np.zeros((581, 2), int), "'label' must be numbers of shape"),
    "data": ("data", np.zeros((581, 3, 2)), r"must be numbers of shape \(581, N, 3\)"),
}


@pytest.mark.parametrize("case", WRONG)
def test_other_contents_are_refused_at_once(tmp_path, case):
    root = layouts.write_scanobjectnn(tmp_path, count=2)
    key, value, said = WRONG[case]
    change(root / TEST, key, value)
    with pytest.raises(DataError, match=said):
        open_obj_bg(root, "test")


def test_a_mask_of_other_points(tmp_path):
    root = layouts.write_scanobjectnn(tmp_path, count=4)
    change(root / TEST, "mask", np.zeros((581, 3), int))
    with pytest.raises(DataError, match="'mask' has 3 values for 4 points"):
        open_obj_bg(root, "test").read(0)
