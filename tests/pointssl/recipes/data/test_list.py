"""`pointssl data list`: what is known, and what is here."""

import json
import zipfile

import h5py
import numpy as np
import pytest
from shared import SHARED, needs_shared

from pointssl.config.data import ListConfig
from pointssl.recipes.data import list as list_datasets
from pointssl_datasets import DATASETS
from pointssl_datasets.base.errors import DataError, UsageError
from pointssl_datasets.downloading.download import download
from pointssl_datasets.serving.finding import find_dataset


def put_modelnet(folder, classes, train=6, test=3):
    """ModelNet in the HDF5 layout, as small as can be."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "shape_names.txt").write_text("\n".join(f"c{i}" for i in range(classes)))
    rng = np.random.default_rng(0)
    for split, count in (("train", train), ("test", test)):
        with h5py.File(folder / f"{split}.h5", "w") as file:
            file["data"] = rng.uniform(-1, 1, (count, 8, 3)).astype(np.float32)
            file["label"] = np.zeros((count, 1), np.int64)
        (folder / f"{split}_files.txt").write_text(f"{split}.h5\n")


def listed(root):
    return list_datasets.run(ListConfig(data_root=root))


def test_every_dataset_with_its_facts(tmp_path):
    facts = listed(tmp_path)
    assert list(facts) == list(DATASETS)
    assert json.loads(json.dumps(facts)) == facts
    for one in facts.values():
        assert {"title", "layout", "up_axis", "clouds", "classes", "gigabytes", "terms", "home",
                "how", "found"} <= set(one)  # fmt: skip
        assert one["how"]
    assert facts["modelnet40"]["clouds"] == {"train": 9840, "test": 2468}
    assert facts["shapenetpart"]["clouds"] == {"train": 12137, "val": 1870, "test": 2874}
    assert facts["modelnet-off"]["clouds"]["10 classes"] == {"train": 3991, "test": 908}
    here = [name for name, one in facts.items() if one["found"]]
    assert here == ["shapes", "primitives"]  # generated: everywhere


@pytest.mark.parametrize("root", ["absent", "file", "empty"])
def test_nothing_here_is_an_answer(tmp_path, monkeypatch, root):
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    if root != "empty":  # unless somebody named it
        with pytest.raises(DataError, match="no such folder"):
            listed(tmp_path / root)
    monkeypatch.setenv("POINTSSL_DATA", str(tmp_path / root))
    facts = listed(None)
    assert not any(one["found"] for name, one in facts.items() if one["origin"] != "generated")
    assert "Traceback" not in list_datasets.as_text(facts)


def test_folder_of_the_environment(tmp_path, monkeypatch):
    put_modelnet(tmp_path / "modelnet", 40)
    monkeypatch.setenv("POINTSSL_DATA", str(tmp_path))
    found = listed(None)["modelnet40"]["found"]
    assert found == {"folder": str(tmp_path), "clouds": {"train": 6, "test": 3}, "classes": 40}


def test_damaged_data_is_not_found_and_says_why(tmp_path):
    put_modelnet(tmp_path, 40)
    (tmp_path / "train.h5").write_bytes(b"not HDF5")
    assert find_dataset("modelnet40", tmp_path).splits == {"test": 3}
    (tmp_path / "test.h5").write_bytes(b"not HDF5")
    found = find_dataset("modelnet40", tmp_path)
    assert not found.splits
    assert "truncated or damaged HDF5" in found.error
    assert str(found) == "not found"


def test_what_download_put_there_is_found_beside_others(tmp_path):
    """Two folders of one layout make `--data-root` ambiguous; the list still knows ours."""
    put_modelnet(tmp_path / "packed" / "modelnet40_ply_hdf5_2048", 40)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for path in sorted((tmp_path / "packed").rglob("*.*")):
            archive.write(path, path.relative_to(tmp_path / "packed"))
    root = tmp_path / "data"
    put_modelnet(root / "ten", 10, train=5)
    folder = download("modelnet40", root, archives=[tmp_path / "a.zip"], say=lambda _: None)
    found = find_dataset("modelnet40", root)
    assert (found.folder, found.splits, found.classes) == (folder, {"train": 6, "test": 3}, 40)
    assert str(found) == "6 train, 3 test in 40 classes"


def test_table_fits_a_terminal(tmp_path):
    put_modelnet(tmp_path / "ten", 10, train=3991, test=908)
    text = list_datasets.as_text(listed(tmp_path))
    lines = text.splitlines()
    assert max(map(len, lines)) <= 100
    assert len(lines) == 1 + len(DATASETS) + 2
    row = next(line for line in lines if line.startswith("modelnet10 ")).split()
    assert row == ["modelnet10", "3991/908", "10", "z", "by", "hand", "3991/908"]
    row = next(line for line in lines if line.startswith("modelnet40 "))
    assert row.endswith("3991/908 in 10 classes")  # its layout, and not it
    assert next(line for line in lines if line.startswith("shapenet55")).endswith(" -")
    assert "data download NAME` gets it" in lines[-1]


def test_short_form_for_reports(tmp_path):
    put_modelnet(tmp_path, 10)
    here = list_datasets.found_here(tmp_path)
    assert here["modelnet10"] == "6 train, 3 test in 10 classes"
    assert here["shapenet55"] == "not found"
    assert "shapes" not in here


@needs_shared
def test_real_data():
    facts = listed(SHARED / "data")
    assert facts["modelnet10"]["found"]["clouds"] == {"train": 3991, "test": 908}
    assert facts["shapenet-render"]["found"]["clouds"] == {"train": 111}
    part = listed(SHARED / "data" / "shapenetpart_sample" / "shapenet_part_seg_hdf5_data")
    assert part["shapenetpart"]["found"]["classes"] == 16


def test_all_about_one(tmp_path):
    put_modelnet(tmp_path, classes=10)
    facts = list_datasets.run(ListConfig(data_root=tmp_path, name="modelnet10"))
    text = list_datasets.as_text(facts)
    assert list(facts) == ["modelnet10"]
    assert max(map(len, text.splitlines())) <= 100
    for said in ("train_files.txt", "z in the files", "academic research", "6 train, 3 test in 10"):
        assert said in text
    with pytest.raises(UsageError, match="unknown dataset 'modelnet', did you mean 'modelnet"):
        list_datasets.run(ListConfig(name="modelnet"))


@pytest.mark.parametrize("name", DATASETS)
def test_every_card_fits_the_terminal(tmp_path, name):
    text = list_datasets.as_text(list_datasets.run(ListConfig(data_root=tmp_path, name=name)))
    lines = text.splitlines()
    assert lines[0].startswith(f"{name}: ")
    assert all(len(line) <= 100 for line in lines if "http" not in line)
