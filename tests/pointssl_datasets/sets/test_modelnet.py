"""The HDF5 layout of ModelNet: real files, made-up ones, and broken ones."""

import json
import shutil

import h5py
import numpy as np
import pytest
from shared import SHARED, needs_shared

from pointssl_datasets.base.errors import DataError, UsageError
from pointssl_datasets.serving.dataset import load_dataset
from pointssl_datasets.serving.opening import open_source
from pointssl_datasets.sets.modelnet import open_modelnet, open_modelnet10

CLASSES = ["bed", "chair", "lamp"]


def write_layout(root, *, files=2, clouds=5, points=16, normal=False, label_shape=(-1, 1)):
    """Two HDF5 files per split in the layout of modelnet40_ply_hdf5_2048."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "shape_names.txt").write_text("\n".join(CLASSES) + "\n")
    for split in ("train", "test"):
        names = [f"ply_data_{split}{i}.h5" for i in range(files)]
        listed = "".join(f"data/modelnet40_ply_hdf5_2048/{name}\n" for name in names)
        (root / f"{split}_files.txt").write_text(listed)
        for i, name in enumerate(names):
            rng = np.random.default_rng([i, split == "test"])
            with h5py.File(root / name, "w") as file:
                file["data"] = rng.normal(size=(clouds, points, 3)).astype(np.float32)
                labels = np.arange(clouds, dtype=np.uint8) % len(CLASSES)
                file["label"] = labels.reshape(label_shape)
                if normal:
                    unit = rng.normal(size=(clouds, points, 3))
                    file["normal"] = unit / np.linalg.norm(unit, axis=2, keepdims=True)
    return root


def change(root, key, value, file="ply_data_train1.h5"):
    with h5py.File(root / file, "a") as h5:
        if key in h5:
            del h5[key]
        if value is not None:
            h5[key] = value


def read(root, split="train", opener=open_modelnet):
    source = opener(root, split)
    return source, list(source.clouds())


@pytest.mark.parametrize("label_shape", [(-1, 1), (-1,)])
def test_reads_all_rows_in_file_order(tmp_path, label_shape):
    root = write_layout(tmp_path, label_shape=label_shape, clouds=70)  # more than one chunk
    source, clouds = read(root)
    assert source.count == len(clouds) == 140
    assert source.classes == tuple(CLASSES)
    with h5py.File(root / "ply_data_train1.h5") as file:
        np.testing.assert_array_equal(clouds[70 + 66]["xyz"], file["data"][66])
    assert [c["label"] for c in clouds[:4]] == [0, 1, 2, 0]
    assert clouds[71]["name"] == "ply_data_train1/00001"
    assert len({c["name"] for c in clouds}) == 140


def test_normals_and_up_axes(tmp_path):
    root = write_layout(tmp_path, normal=True)
    source, clouds = read(root)
    np.testing.assert_allclose(np.linalg.norm(clouds[3]["normals"], axis=1), 1, atol=1e-6)
    assert source.up_axis == "y"
    assert open_modelnet10(root, "train").up_axis == "z"
    assert open_source("modelnet40", root, "train", up_axis="x").up_axis == "x"
    assert "3 classes, the original 40" in source.notes[0]


def test_names_come_from_the_json_beside(tmp_path):
    root = write_layout(tmp_path, files=1)
    names = [f"bed/bed_{i:04d}.ply" for i in range(5)]
    (root / "ply_data_train_0_id2file.json").write_text(json.dumps(names))
    assert read(root)[1][2]["name"] == "bed/bed_0002"
    (root / "ply_data_train_0_id2file.json").write_text(json.dumps(names[:4]))
    with pytest.raises(DataError, match="list of 5 names"):
        open_modelnet(root, "train")


def test_ids_that_repeat_are_not_taken_as_names(tmp_path):
    root = write_layout(tmp_path, files=1)
    change(root, "id", np.array([b"same"] * 5), "ply_data_train0.h5")
    assert len({cloud["name"] for cloud in read(root)[1]}) == 5


def test_the_parent_of_the_right_folder_will_do(tmp_path):
    root = write_layout(tmp_path / "modelnet40_ply_hdf5_2048")
    assert open_modelnet(tmp_path, "train").key == open_modelnet(root, "train").key
    write_layout(tmp_path / "other")
    with pytest.raises(DataError, match="contains several: modelnet40_ply_hdf5_2048, other"):
        open_modelnet(tmp_path, "train")


def test_the_key_changes_with_the_files(tmp_path):
    root = write_layout(tmp_path)
    before = open_modelnet(root, "train").key
    assert open_modelnet(root, "train").key == before
    change(root, "data", np.zeros((5, 17, 3)))
    assert open_modelnet(root, "train").key != before


def test_missing_root_says_where_we_looked(tmp_path, monkeypatch):
    monkeypatch.delenv("POINTSSL_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"data \(the default ./data\) does not exist"):
        open_modelnet(None, "train")
    monkeypatch.setenv("POINTSSL_DATA", str(tmp_path / "gone"))
    with pytest.raises(DataError, match=r"gone \(\$POINTSSL_DATA\) does not exist"):
        open_modelnet(None, "train")
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"file \(--data-root\) is a file"):
        open_modelnet(tmp_path / "file", "train")
    with pytest.raises(DataError, match=r"Expected the layout of modelnet40_ply_hdf5_2048"):
        open_modelnet(tmp_path, "train")


def test_other_splits_are_refused(tmp_path):
    with pytest.raises(UsageError, match="not 'val'"):
        open_modelnet(write_layout(tmp_path), "val")


def truncate(root):
    path = root / "ply_data_train1.h5"
    path.write_bytes(path.read_bytes()[:-900])


BAD = {
    "truncated": (truncate, "ply_data_train1.h5: truncated or damaged HDF5"),
    "no hdf5": (
        lambda root: (root / "ply_data_train1.h5").write_text("<html>404</html>"),
        "ply_data_train1.h5: truncated or damaged HDF5",
    ),
    "other keys": (lambda root: change(root, "data", None), "'label'; found label"),
    "2-d data": (
        lambda root: change(root, "data", np.ones((5, 16))),
        r"found float64 of shape \(5, 16\)",
    ),
    "too few labels": (
        lambda root: change(root, "label", np.ones(4, int)),
        r"must be numbers of shape \(5\)",
    ),
    "float labels": (lambda root: change(root, "label", np.ones(5) / 2), "label is not .*0.5"),
    "label too high": (
        lambda root: change(root, "label", np.array([0, 1, 2, 3, 9])),
        "row 3: the label is not from 0 to 2: 3",
    ),
    "label negative": (
        lambda root: change(root, "label", np.array([0, 1, 2, 0, -1])),
        "row 4: the label is not from 0 to 2: -1",
    ),
    "normal shape": (lambda root: change(root, "normal", np.ones((5, 4, 3))), "'normal' must be"),
    "absent file": (
        lambda root: (root / "ply_data_train1.h5").unlink(),
        "1 of the 2 files that it lists are missing: ply_data_train1.h5",
    ),
    "no names": (lambda root: (root / "shape_names.txt").unlink(), "No such file"),
    "empty list": (lambda root: (root / "train_files.txt").write_text("\n"), "the file is empty"),
    "nan": (
        lambda root: change(root, "data", np.full((5, 16, 3), np.nan)),
        r"ply_data_train1.h5: row 0: 16 of 16 points are NaN",
    ),
    "normals": (
        lambda root: change(root, "normal", np.full((5, 16, 3), 2.0)),
        r"row 0: 'normal' must be \(16, 3\) vectors of unit length",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_broken_files_are_named_with_their_problem(tmp_path, case):
    root = write_layout(tmp_path, normal=case.startswith("normal"))
    break_it, said = BAD[case]
    break_it(root)
    with pytest.raises(DataError, match=said) as caught:
        read(root)
    assert "\n" not in str(caught.value)


@needs_shared
def test_real_modelnet10(tmp_path):
    """The official counts, y-up after packing: the floor of a chair is at the bottom."""
    root = SHARED / "data/modelnet10_hdf5_1024"
    data = load_dataset("modelnet10", root, "test", points=1024, cache_dir=tmp_path)
    assert len(data) == 908
    assert data.classes[:3] == ("bathtub", "bed", "chair")
    assert np.bincount(data.labels).tolist() == [50, 100, 100, 86, 86, 100, 86, 100, 100, 100]
    assert open_modelnet10(SHARED / "data", "train").count == 3991  # the parent folder will do
    with h5py.File(root / "ply_data_test0.h5") as file:
        stored = file["data"][7]
    plain = load_dataset(
        "modelnet10", root, "test", points=None, sampling="first", normalise="none",
        cache_dir=tmp_path,
    )  # fmt: skip
    served = plain[7]["xyz"].numpy()
    np.testing.assert_array_equal(served, stored[:, [0, 2, 1]] * [1, 1, -1])
    assert plain.names[0] == "monitor_0556"
    # A seat and a back make the upper half of a chair narrower in one direction than a bed is.
    tables = np.flatnonzero(data.labels == data.classes.index("table"))[:30]
    top = [float((data[int(i)]["xyz"][:, 1] > 0).float().mean()) for i in tables]
    assert np.mean(top) > 0.6  # most of a table's surface is its top


@needs_shared
def test_a_real_file_cut_short(tmp_path):
    for path in (SHARED / "data/modelnet10_hdf5_1024").iterdir():
        if path.suffix == ".txt":
            shutil.copy(path, tmp_path)
    for name in ("ply_data_train0.h5", "ply_data_train1.h5"):
        data = (SHARED / "data/modelnet10_hdf5_1024" / name).read_bytes()
        (tmp_path / name).write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match="truncated"):
        open_modelnet10(tmp_path, "train")
