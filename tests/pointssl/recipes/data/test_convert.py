"""`pointssl data convert`: what goes in comes out, in every layout; or nothing is left behind."""

import os
import shlex
import subprocess
import sys
import tracemalloc
from functools import partial

import h5py
import numpy as np
import pytest
from cloud_files import random_cloud, random_normals
from farthest_twin import farthest
from in_process import refused, worked
from processes import ENV, LIMIT, started

from pointssl.config.data import ConvertConfig
from pointssl.recipes.data import convert
from pointssl_datasets.base.axes import TO_Y_UP
from pointssl_datasets.base.errors import DataError, UsageError
from pointssl_datasets.base.source import Source
from pointssl_datasets.files.writers import Hdf5Shards, write_ply
from pointssl_datasets.packing.pack import unit_sphere
from pointssl_datasets.points.normals import estimate_normals
from pointssl_datasets.serving.dataset import load_dataset
from pointssl_datasets.serving.opening import open_source

CLASSES = ("bed", "chair")


def colours(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 3)).astype(np.float32) / 255


@pytest.fixture
def clouds():
    """By split and name: normals, colours, parts, and different sizes."""
    found = {}
    for s, split in enumerate(("train", "test")):
        for i in range(5):
            count, seed = 40 + 3 * i, 10 * s + i
            found[split, f"{CLASSES[i % 2]}/m{i}"] = {
                "label": i % 2,
                "xyz": random_cloud(count, seed),
                "normals": random_normals(count, seed),
                "colours": colours(count, seed),
                "part": np.arange(count) % (i + 2),
            }
    return found


def write_folder(root, clouds, fields=("normals", "colours", "part")):
    for (split, name), cloud in clouds.items():
        path = root / split / f"{name}.ply"
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = {field: cloud[field] for field in ("xyz", *fields) if field in cloud}
        write_ply(path, kept)
    return root


def config(root, out, **changes):
    options = {"data": "folder", "data_root": root, "out": out, "progress": False}
    options["normalise"] = "none"
    return ConvertConfig(**{**options, **changes})


def read_back(name, root, split, **options):
    return {cloud["name"]: cloud for cloud in open_source(name, root, split, **options).clouds()}


def assert_same(cloud, expected, fields=("xyz", "normals", "colours", "part")):
    assert cloud["label"] == expected["label"]
    for field in fields:
        if field == "normals":  # a reader scales them to unit length, which costs the last bit
            np.testing.assert_allclose(cloud[field], expected[field], atol=2e-7)
        elif field == "colours":
            np.testing.assert_allclose(cloud[field], expected[field], atol=1e-6)
        else:
            np.testing.assert_array_equal(cloud[field], expected[field])


@pytest.mark.parametrize(("to", "reader"), [("packed", "packed"), ("ply", "folder")])
def test_every_value_comes_back(tmp_path, clouds, to, reader):
    root = write_folder(tmp_path / "mine", clouds)
    out = convert.run(config(root, tmp_path / "out", to=to))
    assert out == tmp_path / "out"
    for split in ("train", "test"):
        read = read_back(reader, out, split)
        assert {(split, name) for name in read} == {key for key in clouds if key[0] == split}
        assert open_source(reader, out, split).classes == CLASSES
        for name, cloud in read.items():
            assert_same(cloud, clouds[split, name])


def test_hdf5_comes_back(tmp_path, clouds):
    root = write_folder(tmp_path / "mine", clouds)
    out = convert.run(config(root, tmp_path / "out", to="hdf5", points=32, sampling="first"))
    assert sorted(path.name for path in out.iterdir()) == [
        "ply_data_test0.h5", "ply_data_train0.h5", "shape_names.txt", "test_files.txt",
        "train_files.txt",
    ]  # fmt: skip
    for split in ("train", "test"):
        read = read_back("modelnet40", out, split)
        assert {(split, name) for name in read} == {key for key in clouds if key[0] == split}
        assert open_source("modelnet40", out, split).classes == CLASSES
        for name, cloud in read.items():
            first = {
                key: value if key == "label" else value[:32]
                for key, value in clouds[split, name].items()
            }
            assert_same(cloud, first, ("xyz", "normals"))
        with h5py.File(out / f"ply_data_{split}0.h5") as file:
            for name, part in zip(file["id"].asstr(), file["pid"], strict=True):
                np.testing.assert_array_equal(part, clouds[split, name]["part"][:32])


def test_shapes_become_shapenetpart(tmp_path):
    made = config(None, tmp_path / "out", data="shapes", size=32, to="hdf5")
    out = convert.run(made)
    source = open_source("shapes", None, "train", size=32)
    read = list(open_source("shapenetpart", out, "train").clouds())
    assert len(read) == 32
    for cloud, expected in zip(read, source.clouds(), strict=True):
        assert_same(cloud, expected, ("xyz", "part"))


def test_packed_is_opened_without_packing_again(tmp_path, clouds):
    root = write_folder(tmp_path / "mine", clouds)
    out = convert.run(config(root, tmp_path / "out", normalise="unit-sphere"))
    load = {"points": 40, "sampling": "first", "cache_dir": tmp_path / "cache"}
    data = load_dataset("packed", out, "train", **load)
    plain = load_dataset("folder", root, "train", **load)
    assert not [path.name for path in (tmp_path / "cache").rglob("packed*")]
    assert len(data) == len(plain) == 5
    for mine, theirs in zip(data, plain, strict=True):
        np.testing.assert_array_equal(mine["xyz"].numpy(), theirs["xyz"].numpy())


@pytest.mark.parametrize("up", ["x", "z"])
def test_clouds_come_out_y_up(tmp_path, clouds, up):
    root = write_folder(tmp_path / "mine", clouds)
    for to, reader in (("packed", "packed"), ("ply", "folder"), ("hdf5", "modelnet40")):
        points = 40 if to == "hdf5" else None
        made = config(root, tmp_path / to, to=to, up_axis=up, points=points, sampling="first")
        read = read_back(reader, convert.run(made), "train")
        # A packed set tells the axis that its files had, so that their meshes still fit.
        turn = np.eye(3) if to == "packed" else TO_Y_UP[up].T
        for (split, name), cloud in clouds.items():
            if split == "train":
                for field in ("xyz", "normals"):
                    expected = (cloud[field] @ turn)[:points]
                    np.testing.assert_allclose(read[name][field], expected, atol=2e-7)


@pytest.mark.parametrize("sampling", ["first", "random", "fps"])
def test_points_are_chosen_together(tmp_path, clouds, sampling):
    root = write_folder(tmp_path / "mine", clouds)
    made = config(root, tmp_path / "out", points=20, sampling=sampling, split="train", seed=3)
    read = read_back("packed", convert.run(made), "train")
    assert not (tmp_path / "out" / "test").exists()
    for name, cloud in read.items():
        full = clouds["train", name]
        rows = [np.flatnonzero((full["xyz"] == p).all(axis=1)).item() for p in cloud["xyz"]]
        assert len(set(rows)) == 20
        for field in ("normals", "colours", "part"):
            np.testing.assert_allclose(cloud[field], full[field][rows], atol=1e-6)
        if sampling == "first":
            assert rows == list(range(20))
        if sampling == "fps":
            assert rows == farthest(full["xyz"], 20).tolist()
    again = read_back("packed", convert.run(config(root, tmp_path / "b", points=20,
                      sampling=sampling, split="train", seed=3)), "train")  # fmt: skip
    for name, cloud in read.items():
        np.testing.assert_array_equal(cloud["xyz"], again[name]["xyz"])


def test_small_clouds_are_repeated_and_said(tmp_path, clouds, capfd):
    root = write_folder(tmp_path / "mine", clouds)
    made = config(root, tmp_path / "out", points=45, split="test")
    read = read_back("packed", convert.run(made), "test")
    assert all(len(cloud["xyz"]) == 45 for cloud in read.values())
    assert "2 of 5 clouds have fewer than 45 points" in capfd.readouterr().out


def test_normals_are_estimated_from_all_points(tmp_path, clouds):
    root = write_folder(tmp_path / "mine", clouds, fields=())
    made = config(root, tmp_path / "out", estimate_normals=True, points=20, sampling="first")
    read = read_back("packed", convert.run(made), "train")
    for name, cloud in read.items():
        expected = estimate_normals(clouds["train", name]["xyz"])[:20]
        np.testing.assert_array_equal(cloud["normals"], expected)


def test_given_normals_stay(tmp_path, clouds):
    root = write_folder(tmp_path / "mine", clouds)
    out = convert.run(config(root, tmp_path / "out", to="ply", estimate_normals=True))
    for name, cloud in read_back("folder", out, "train").items():
        np.testing.assert_allclose(cloud["normals"], clouds["train", name]["normals"], atol=2e-7)


def test_normalise(tmp_path, clouds):
    root = write_folder(tmp_path / "mine", clouds)
    out = convert.run(config(root, tmp_path / "out", to="ply", normalise="unit-sphere"))
    for name, cloud in read_back("folder", out, "train").items():
        np.testing.assert_array_equal(cloud["xyz"], unit_sphere(clouds["train", name]["xyz"]))


@pytest.mark.parametrize(("to", "reader"), [("hdf5", "modelnet40"), ("ply", "folder")])
def test_without_classes_there_is_one(tmp_path, to, reader):
    made = config(None, tmp_path / "out", data="primitives", size=3, to=to, points=256)
    out = convert.run(made)
    read = read_back(reader, out, "test")
    assert len(read) == 3
    assert open_source(reader, out, "test").classes == ("primitives",)
    assert {cloud["label"] for cloud in read.values()} == {0}


def test_sizes_that_differ_need_points(tmp_path, clouds):
    root = write_folder(tmp_path / "mine", clouds)
    with pytest.raises(DataError, match=r"m2 has 46 points, bed/m0 40.*--points"):
        convert.run(config(root, tmp_path / "out", to="hdf5"))
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize("to", ["packed", "hdf5", "ply"])
def test_a_bad_cloud_is_named_and_nothing_is_left(tmp_path, clouds, to):
    clouds["test", "chair/m3"]["xyz"][7] = np.nan
    root = write_folder(tmp_path / "mine", clouds)
    with pytest.raises(DataError, match=r"chair/m3.*NaN.*pointssl data check --fix") as caught:
        convert.run(config(root, tmp_path / "out", to=to, points=40))
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_nothing_is_overwritten(tmp_path, clouds):
    root = write_folder(tmp_path / "mine", clouds)
    (tmp_path / "out").mkdir()
    with pytest.raises(UsageError, match="exists"):
        convert.run(config(root, tmp_path / "out"))


def test_what_a_killed_conversion_left_is_swept(tmp_path, clouds):
    root = write_folder(tmp_path / "mine", clouds)
    left = tmp_path / "new.unfinished"
    (left / "train").mkdir(parents=True)
    (left / "train/half.npy").write_bytes(b"half")
    (left / "meta.json").write_bytes(b"half")
    convert.run(config(root, tmp_path / "new"))
    assert not left.exists()
    assert not list((tmp_path / "new").rglob("half.npy"))


def test_a_second_conversion_to_the_same_place_waits_and_is_refused(tmp_path, clouds):
    root = write_folder(tmp_path / "mine", clouds)
    words = ["data", "convert", "--data", "folder", "--data-root", root, "--out", tmp_path / "out"]
    with started(*words) as one, started(*words) as two:
        ended = [process.communicate(timeout=LIMIT) for process in (one, two)]
        assert sorted([one.returncode, two.returncode]) == [0, 2]
    assert sum("exists. Choose a new folder" in said for _, said in ended) == 1
    assert not (tmp_path / "out.unfinished").exists()
    assert open_source("packed", tmp_path / "out", "train").count > 0


@pytest.mark.parametrize("to", ["packed", "hdf5", "ply"])
def test_a_disk_that_gets_full_is_one_line(tmp_path, to):
    words = ["data", "convert", "--data", "shapes", "--size", "64", "--points", "1024"]
    command = shlex.join(map(str, [sys.executable, "-m", "pointssl", *words, "--to", to]))
    ended = subprocess.run(
        ["bash", "-c", f"ulimit -f 8; {command} --no-progress --out {tmp_path / 'out'}"],
        env={**ENV, "PYTHONDONTWRITEBYTECODE": "1"}, capture_output=True, text=True, timeout=LIMIT,
    )  # fmt: skip
    assert ended.returncode == 1, ended
    assert ended.stderr.count("\n") == 1
    assert "File too large" in ended.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_conversion_leaves_nothing(tmp_path, clouds, monkeypatch):
    root = write_folder(tmp_path / "mine", clouds)
    calls = []

    def interrupt(path, cloud):
        calls.append(path)
        if len(calls) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(convert, "write_ply", interrupt)
    with pytest.raises(KeyboardInterrupt):
        convert.run(config(root, tmp_path / "out", to="ply"))
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_folder_that_can_not_be_written(tmp_path, clouds):
    root = write_folder(tmp_path / "mine", clouds)
    (tmp_path / "shut").mkdir(mode=0o500)
    with pytest.raises(DataError, match="cannot write"):
        convert.run(config(root, tmp_path / "shut" / "out"))


def test_a_file_in_the_way(tmp_path, clouds):
    root = write_folder(tmp_path / "mine", clouds)
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot write"):
        convert.run(config(root, tmp_path / "file" / "out"))


@pytest.mark.parametrize("to", ["packed", "hdf5", "ply"])
def test_the_memory_does_not_grow_with_the_dataset(tmp_path, monkeypatch, to):
    def peak(size):
        source = Source(dataset="many", split="train", classes=("a",), up_axis="y", key="",
                        names=[str(i) for i in range(size)],
                        read=lambda i: {"xyz": random_cloud(1000, i), "label": 0})  # fmt: skip
        monkeypatch.setattr(convert, "open_splits", lambda config: [source])
        monkeypatch.setattr(convert, "Hdf5Shards", partial(Hdf5Shards, shard=64))
        tracemalloc.start()
        convert.run(config(None, tmp_path / str(size), to=to))
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(1)
    assert peak(300) < peak(100) + 400_000  # 200 clouds of 1000 points take 2.4 MB


def test_names_never_lead_out(tmp_path):
    out = tmp_path / "a" / "out"
    convert.run(config(None, out, data="my_dataset:Hostile", to="ply", split="train"))
    files = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    assert len(files) == 6
    assert all(out / "train" in path.parents for path in files)
    read = open_source("folder", out, "train")
    assert (read.count, len(read.classes)) == (6, 2)


def test_a_split_must_name_a_file(tmp_path):
    with pytest.raises(UsageError, match="must be a valid file name"):
        convert.run(config(None, tmp_path / "out", data="my_dataset:Hostile", split="../x"))


def test_all_splits_that_there_are(tmp_path, clouds):
    only = {key: cloud for key, cloud in clouds.items() if key[0] == "train"}
    root = write_folder(tmp_path / "mine", only)
    with pytest.raises(DataError, match="--split train"):  # test is not there: say so
        convert.run(config(root, tmp_path / "out"))
    with pytest.raises(UsageError, match="val"):
        convert.run(config(root, tmp_path / "out", split="val"))
    out = convert.run(config(root, tmp_path / "out", split="train"))
    assert [path.name for path in out.iterdir()] == ["train"]


def test_the_command(tmp_path, clouds, capfd):
    root = write_folder(tmp_path / "mine", clouds)
    words = ["data", "convert", "--data", "folder", "--data-root", root, "--no-progress"]
    out = worked(capfd, *words, "--to", "hdf5", "--points", 32, "--out", tmp_path / "out")
    assert out.splitlines()[-1] == str(tmp_path / "out")
    assert "colours can't be stored in hdf5 files" in out
    assert "exists" in refused(capfd, 2, *words, "--out", tmp_path / "out")
