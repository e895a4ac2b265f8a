"""A packed folder as a dataset: opened as it is, packed anew only to be scaled otherwise."""

import json

import numpy as np
import pytest
from cloud_files import random_normals
from packing_sources import make_clouds, make_source

from pointssl_datasets.dataset import load_dataset
from pointssl_datasets.errors import DataError
from pointssl_datasets.opening import open_source
from pointssl_datasets.packing.arrays import TO_Y_UP
from pointssl_datasets.packing.pack import unit_sphere, write_packed


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
    with pytest.raises(DataError, match="holds the split 'train', not 'test'"):
        open_source("packed", root / "train", "test")
    meta = root / "train/meta.json"
    kept = meta.read_text()
    meta.write_text(json.dumps({**json.loads(kept), "version": "1"}))
    with pytest.raises(DataError, match="of format 1, this is for format"):
        open_source("packed", root, "train")
    meta.write_text(kept)
    np.save(root / "train/offsets.npy", np.array([0, 30, 20]))
    with pytest.raises(DataError, match="arrays do not fit together"):
        open_source("packed", root, "train")
