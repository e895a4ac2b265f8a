"""A packed folder as a dataset: opened as it is, packed anew only to be scaled otherwise."""

import json

import numpy as np
import pytest
from cloud_files import random_normals
from packing_sources import make_clouds, make_source

from pointssl_datasets.base.axes import TO_Y_UP
from pointssl_datasets.base.errors import DataError, UsageError
from pointssl_datasets.packing.pack import unit_sphere, write_packed
from pointssl_datasets.serving.dataset import load_dataset
from pointssl_datasets.serving.opening import open_source


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "data/train"
    folder.mkdir(parents=True)
    clouds = make_clouds((20, 20), normals=random_normals(20))
    write_packed(make_source(clouds, up_axis="z"), folder, "none", False)
    return folder.parent


def test_is_served_as_it_lies_there(root, tmp_path):
    data = load_dataset(
        "packed", root, "train", points=20, sampling="first", normalise="none", normals=True,
        cache_dir=tmp_path / "cache",
    )  # fmt: skip
    assert not (tmp_path / "cache").exists()
    turn = TO_Y_UP["z"]
    for i, cloud in enumerate(make_clouds((20, 20), normals=random_normals(20))):
        np.testing.assert_array_equal(data[i]["xyz"], cloud["xyz"] @ turn.T)
        np.testing.assert_array_equal(data[i]["feats"], cloud["normals"] @ turn.T)
    assert list(data.names) == ["c0", "c1"]
    assert (
        open_source("packed", root / "train", "train").key
        == open_source("packed", root, "train").key
    )


def test_is_packed_anew_in_another_scale(root, tmp_path):
    data = load_dataset(
        "packed", root, "train", points=20, sampling="first", cache_dir=tmp_path / "cache"
    )
    expected = unit_sphere(make_clouds((20,))[0]["xyz"]) @ TO_Y_UP["z"].T
    np.testing.assert_allclose(data[0]["xyz"], expected, atol=1e-6)


def test_damage_is_told(root, tmp_path):
    with pytest.raises(DataError, match=r"packed: no .*test/meta.json. Expected a folder that `po"):
        open_source("packed", root, "test")
    with pytest.raises(UsageError, match="contains the split 'train', not 'test'"):
        open_source("packed", root / "train", "test")
    meta = root / "train/meta.json"
    kept = meta.read_text()
    meta.write_text(json.dumps({**json.loads(kept), "version": "1"}))
    with pytest.raises(DataError, match="has format 1, but format"):
        open_source("packed", root, "train")
    meta.write_text(kept)
    np.save(root / "train/offsets.npy", np.array([0, 30, 20]))
    with pytest.raises(DataError, match="arrays are inconsistent"):
        open_source("packed", root, "train")


def test_pictures_meshes_and_axes_survive(tmp_path):
    (tmp_path / "m.off").touch()
    clouds = make_clouds((20, 20), normals=random_normals(20))
    for i, cloud in enumerate(clouds):
        cloud["images"] = [tmp_path / f"{i}.png"]
    clouds[1]["mesh"] = tmp_path / "m.off"
    folder = tmp_path / "data/train"
    folder.mkdir(parents=True)
    write_packed(make_source(clouds, up_axis="z"), folder, "none", False)
    source = open_source("packed", folder.parent, "train")
    assert source.up_axis == "z"
    for i, cloud in enumerate(clouds):
        read = source.read(i)
        np.testing.assert_array_equal(read["xyz"], cloud["xyz"])
        np.testing.assert_array_equal(read["normals"], cloud["normals"])
        assert read["images"] == cloud["images"]
        assert read.get("mesh") == cloud.get("mesh")
    (tmp_path / "m.off").unlink()
    assert "mesh" not in source.read(1)


def test_another_axis_turns_it_even_in_its_own_scale(root, tmp_path):
    def first(up_axis):
        data = load_dataset(
            "packed", root, "train", points=20, sampling="first", normalise="none",
            up_axis=up_axis, cache_dir=tmp_path / "cache",
        )  # fmt: skip
        return data[0]["xyz"].numpy()

    stored = make_clouds((20,))[0]["xyz"]
    for up_axis in "xyz":
        np.testing.assert_array_equal(first(up_axis), stored @ TO_Y_UP[up_axis].T)
    np.testing.assert_array_equal(first("auto"), first("z"))
