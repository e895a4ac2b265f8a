"""The skip list: found, read, obeyed, and part of what identifies the data."""

import numpy as np
import pytest
import tiny

from pointssl_datasets.base.errors import DataError
from pointssl_datasets.base.skipping import FILE_NAME, Skip, read_skips, write_skips
from pointssl_datasets.serving.dataset import load_dataset
from pointssl_datasets.serving.opening import open_source


def test_written_and_read_again(tmp_path):
    skips = [Skip("folder", "train", "bed/m 1", "NaN"), Skip("folder", "test", "łóżko/m2", "")]
    write_skips(tmp_path / FILE_NAME, skips)
    assert read_skips(tmp_path / FILE_NAME) == skips
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]
    odd = [Skip("d", "train", name, name) for name in ("a\nb", "a\tb", "\\n", "\x85", "\r", "a\\")]
    write_skips(tmp_path / FILE_NAME, odd)
    assert read_skips(tmp_path / FILE_NAME) == odd
    (tmp_path / "by_hand").write_text("# mine\n\nfolder\ttrain\tbed/m1\n")
    assert read_skips(tmp_path / "by_hand") == [Skip("folder", "train", "bed/m1", "")]


def test_what_is_no_skip_list(tmp_path):
    (tmp_path / "spaces").write_text("folder train bed/m1\n")
    with pytest.raises(DataError, match="line 1: expected dataset, split, name and why"):
        read_skips(tmp_path / "spaces")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"cannot be read as a skip list"):
        read_skips(tmp_path / "bytes")
    with pytest.raises(DataError, match=r"--skip-list .*absent: no such file"):
        open_source("shapes", None, "train", skip_list=tmp_path / "absent")


def test_loaders_leave_out_what_is_listed(tmp_path):
    root = tiny.write_clouds(tmp_path / "data")
    np.save(root / "train/bed/m1.npy", np.full((9, 3), np.nan))
    (root / "train/chair/m2.png").unlink()
    (root / "train/lamp/m3.npy").unlink()
    key = open_source("folder", root, "test").key

    def load(split, **more):
        return load_dataset("folder", root, split, points=32, cache_dir=tmp_path / "c", **more)

    with pytest.raises(DataError, match=r"unpaired|without images"):
        load("train")
    names = ["bed/m1", "chair/m2", "lamp/m3.png"]
    write_skips(root / FILE_NAME, [Skip("folder", "train", name, "broken") for name in names])
    data = load("train")
    assert len(data) == 24 - 3
    assert not set(names) & set(data.names)
    assert any("left out: 2 clouds" in note or "left out: 1 cloud" in note for note in data.notes)
    assert open_source("folder", root, "test").key == key  # nothing of it is listed

    (root / FILE_NAME).rename(tmp_path / "elsewhere.tsv")
    with pytest.raises(DataError):
        load("train")
    assert list(load("train", skip_list=tmp_path / "elsewhere.tsv").names) == list(data.names)


def test_another_skip_list_is_other_data(tmp_path):
    keys = set()
    for skips in ([], ["airplane/000000"], ["bag/000001"]):
        path = tmp_path / "skips.tsv"
        write_skips(path, [Skip("shapes", "train", name, "") for name in skips])
        source = open_source("shapes", None, "train", size=8, skip_list=path)
        assert source.count == 8 - len(skips)
        assert [c["name"] for c in source.clouds()] == list(source.names)
        keys.add(source.key)
    assert len(keys) == 3
