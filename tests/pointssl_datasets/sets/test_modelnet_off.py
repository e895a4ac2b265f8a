"""ModelNet's own folders of meshes."""

import numpy as np
import pytest
from cloud_files import CUBE, off_text

from pointssl_datasets.base.errors import DataError, UsageError
from pointssl_datasets.serving.opening import open_source
from pointssl_datasets.sets.modelnet_off import OFFICIAL, open_modelnet_off


def write_modelnet(root, classes=("bathtub", "night_stand"), train=3, test=2):
    for name in classes:
        for split, start, count in (("train", 1, train), ("test", train + 1, test)):
            folder = root / name / split
            folder.mkdir(parents=True)
            for i in range(start, start + count):
                text = off_text(CUBE * i, head="OFF{} {} 0\n")  # as hundreds of its files are
                (folder / f"{name}_{i:04d}.off").write_text(text)
        (root / name / ".DS_Store").write_bytes(b"x")
    (root / "__MACOSX" / classes[0] / "train").mkdir(parents=True)
    (root / "__MACOSX" / classes[0] / "train" / f"._{classes[0]}_0001.off").write_bytes(b"x")
    (root / "README.txt").write_text("x")
    return root


def test_both_splits(tmp_path):
    root = write_modelnet(tmp_path / "ModelNet40")
    train, test = open_modelnet_off(root, "train"), open_modelnet_off(root, "test")
    assert train.classes == test.classes == ("bathtub", "night_stand")
    assert train.up_axis == "z"
    assert list(test.names) == [f"{c}/{c}_{i:04d}" for c in train.classes for i in (4, 5)]
    cloud = train.read(4)
    assert cloud["label"] == 1
    assert cloud["mesh"].name == "night_stand_0002.off"
    assert cloud["xyz"].shape == cloud["normals"].shape == (4096, 3)
    np.testing.assert_allclose(np.ptp(cloud["xyz"], axis=0), 2, atol=0.01)
    assert open_modelnet_off(tmp_path, "train").count == 6  # the folder above will do


def test_number_of_points_is_part_of_the_key(tmp_path):
    root = write_modelnet(tmp_path)
    few = open_modelnet_off(root, "train", mesh_points=100)
    assert few.read(0)["xyz"].shape == (100, 3)
    keys = {few.key, open_modelnet_off(root, "train").key, open_modelnet_off(root, "test").key}
    assert len(keys) == 3
    assert open_modelnet_off(root, "train", mesh_points=4096).key in keys
    source = open_source("modelnet-off", root, "train", mesh_points=100, up_axis="y")
    assert (source.key, source.up_axis) == (few.key, "y")


def test_numbers_other_than_the_official_are_noted(tmp_path):
    assert OFFICIAL[40] == {"train": 9843, "test": 2468}
    two = open_modelnet_off(write_modelnet(tmp_path / "two"), "train")
    assert "has 2 classes, the originals 10 or 40" in two.notes[0]
    ten = write_modelnet(tmp_path / "ten", [f"c{i}" for i in range(10)])
    assert (
        "has 20 meshes for test, the original ModelNet10 908"
        in (open_modelnet_off(ten, "test").notes[0])
    )


def test_a_broken_mesh_spoils_only_itself(tmp_path):
    root = write_modelnet(tmp_path)
    (root / "bathtub/train/bathtub_0002.off").write_text("OFF\n100 100 0\n0 0 0\n")
    source = open_modelnet_off(root, "train")
    with pytest.raises(DataError, match=r"bathtub_0002\.off: truncated: 100 vertices"):
        source.read(1)
    assert len(source.read(2)["xyz"]) == 4096


def test_what_is_not_there(tmp_path):
    with pytest.raises(DataError, match="Expected CLASS/train/name"):
        open_modelnet_off(tmp_path, "train")
    with pytest.raises(UsageError, match="not 'val'"):
        open_modelnet_off(tmp_path, "val")
    write_modelnet(tmp_path / "ModelNet40", test=0)
    with pytest.raises(DataError, match="no meshes for the split 'test'"):
        open_modelnet_off(tmp_path, "test")
    write_modelnet(tmp_path / "ModelNet10")
    with pytest.raises(DataError, match="several: ModelNet10, ModelNet40"):
        open_modelnet_off(tmp_path, "train")
