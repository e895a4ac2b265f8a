"""From a name to a source: options go where they are wanted, and a user's own data just works."""

from pathlib import Path

import numpy as np
import pytest
import tiny

from pointssl_datasets.base.errors import DataError, UsageError
from pointssl_datasets.layout.pairs import Unpaired
from pointssl_datasets.serving.dataset import load_dataset
from pointssl_datasets.serving.opening import open_source


def test_a_class_of_the_users_own():
    source = open_source("my_dataset:Bunnies", None, "train")
    assert (source.dataset, source.classes, source.up_axis) == ("Bunnies", ("bunny", "hare"), "z")
    assert list(source.names) == ["peter", "flopsy", "mopsy"]
    assert source.key == open_source("my_dataset:Bunnies", None, "train").key
    cloud = source.read(1)
    assert (cloud["xyz"].dtype, cloud["part"].dtype, cloud["label"]) == (np.float32, np.int64, 1)
    assert open_source("my_dataset:Bunnies", None, "train", up_axis="x").up_axis == "x"


def test_a_torch_dataset_of_points_and_labels(tmp_path, monkeypatch):
    (tmp_path / "shift.txt").write_text("0.5")
    source = open_source("my_dataset:Tensors", tmp_path, "train")
    assert (source.count, source.classes, source.read(2)["label"]) == (4, (), 2)
    same = open_source("my_dataset:Tensors", tmp_path, "train").key
    assert source.key == same
    (tmp_path / "shift.txt").write_text("0.6")  # without a key of its own, the content is the key
    assert open_source("my_dataset:Tensors", tmp_path, "train").key != same
    same = open_source("my_dataset:Tensors", tmp_path, "train").key
    monkeypatch.setattr("my_dataset.Tensors.names", list("abcd"), raising=False)
    assert open_source("my_dataset:Tensors", tmp_path, "train").key != same
    monkeypatch.undo()
    data = load_dataset(
        "my_dataset:Tensors", tmp_path, "train", points=16, size=3, cache_dir=tmp_path
    )
    assert len(data) == 3
    assert data[0]["xyz"].shape == (16, 3)


def test_what_is_no_dataset_is_told():
    with pytest.raises(
        UsageError, match="returned NotADataset: expected a Source, or an object with"
    ):
        open_source("my_dataset:NotADataset", None, "train")
    with pytest.raises(UsageError, match=r"with \(root, split\).*missing a required argument: 'se"):
        open_source("my_dataset:wants_more", None, "train")
    with pytest.raises(DataError, match="Ragged: 0000000: expected a dict with 'xyz', found point"):
        open_source("my_dataset:Ragged", None, "train")  # read at once, for want of a key


def test_an_option_that_a_dataset_has_no_use_for(tmp_path):
    root = tiny.write_clouds(tmp_path, pictures=False)
    with pytest.raises(
        UsageError, match=r"--size: folder does not have this option. Leave --size out"
    ):
        open_source("folder", root, "train", size=3)
    with pytest.raises(UsageError, match="--mesh-points: shapes does not have this option"):
        open_source("shapes", None, "train", mesh_points=100)
    with pytest.raises(UsageError, match="a mixture is only for training"):
        open_source("concat:shapes+folder", None, "train")
    with pytest.raises(UsageError, match="did you mean 'modelnet40'"):
        open_source("modelnet4", Path(), "train")


def test_images_that_are_not_missed(tmp_path):
    root = tiny.write_clouds(tmp_path)
    for name in ("m0", "m1"):
        (root / f"train/bed/{name}.npy").unlink()
    with pytest.raises(Unpaired) as caught:
        open_source("folder", root, "train")
    assert caught.value.clouds == ()
    assert caught.value.images == ("bed/m0.png", "bed/m1.png")
    assert open_source("folder", root, "train", ignore=caught.value.images).count == 22


def test_what_a_users_own_code_raises_is_told_with_the_place():
    with pytest.raises(DataError, match=r"Unopenable': RuntimeError: no licence .*--debug"):
        open_source("my_dataset:Unopenable", None, "train")
    with pytest.raises(DataError, match=r"Raises: 0000002: KeyError: 'the server is down'"):
        open_source("my_dataset:Raises", None, "train")


def test_a_module_that_is_no_python(tmp_path, monkeypatch):
    (tmp_path / "half_written.py").write_text("class MyData:\n    def __init__(self\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UsageError, match=r"half_written:MyData.* in .*half_written.py, line"):
        open_source("half_written:MyData", None, "train")
