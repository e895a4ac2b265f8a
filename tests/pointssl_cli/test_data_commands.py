"""`pointssl data ...` as typed: what is printed, what is written, and how mistakes end."""

import json
import zipfile

import numpy as np
import pytest
import tiny
from in_process import call, refused, worked
from layouts import write_modelnet_off
from processes import assert_no_traceback, pointssl

from pointssl_datasets.base.skipping import FILE_NAME


@pytest.fixture
def clouds(tmp_path):
    return tiny.write_clouds(tmp_path / "clouds", per_class=3, points=64, pictures=False)


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    monkeypatch.setenv("POINTSSL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("POINTSSL_DATA", str(tmp_path / "data"))


def of(root, name="folder"):
    return ["--data", name, "--data-root", root, "--no-progress"]


def test_list_says_what_is_here(capfd, tmp_path):
    assert "modelnet40-normal" in worked(capfd, "data", "list")
    (tmp_path / "data").mkdir()
    facts = json.loads(worked(capfd, "data", "list", "--json"))
    assert facts["shapes"]["found"]["clouds"] == {"train": 1600, "test": 800}
    assert facts["modelnet40"]["found"] is None
    assert facts["modelnet40"]["terms"]


def test_an_archive_becomes_a_dataset_that_list_finds(capfd, clouds, tmp_path):
    convert = ["--to", "hdf5", "--points", "32", "--out", tmp_path / "hdf5"]
    worked(capfd, "data", "convert", *of(clouds), *convert)
    with zipfile.ZipFile(tmp_path / "mine.zip", "w") as archive:
        for file in (tmp_path / "hdf5").iterdir():
            archive.write(file, f"somewhere/{file.name}")
    download = ["data", "download", "modelnet40", "--from", tmp_path / "mine.zip", "--no-progress"]
    said = worked(capfd, *download)
    assert "For academic research only" in said
    assert "9 train, 9 test in 3 classes; the original has 9840 train" in said
    assert (tmp_path / "mine.zip").is_file()
    assert "9/9 in 3 classes" in worked(capfd, "data", "list")
    assert "is already installed" in worked(capfd, *download)


def test_download_ends_in_one_line(capfd, tmp_path):
    ended = call(capfd, "data", "download", "modelnet40")
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert "--accept-terms" in ended.err
    assert refused(capfd, 2, "data", "download").startswith("NAME is missing")
    assert "did you mean 'modelnet40'" in refused(capfd, 2, "data", "download", "modelnet4")
    assert "generates it" in refused(capfd, 2, "data", "download", "shapes")
    (tmp_path / "no.zip").write_text("<html>404</html>")
    ended = call(capfd, "data", "download", "modelnet40", "--from", tmp_path / "no.zip")
    assert (ended.code, ended.err.count("\n")) == (1, 1)
    assert "no.zip" in ended.err
    assert not list((tmp_path / "data").glob("*"))


def test_check_fix_and_load(capfd, clouds, tmp_path):
    assert "no problems found" in worked(capfd, "data", "check", *of(clouds), "--points", "64")
    np.save(clouds / "train/bed/m0.npy", np.full((64, 3), np.inf))
    (clouds / "test/lamp/m2.npy").write_bytes(b"")
    line = refused(capfd, 1, "extract", *of(clouds), "--points", "16")
    assert "m0.npy" in line
    assert "`pointssl data check --fix` lists all such clouds" in line
    ended = call(capfd, "data", "check", *of(clouds), "--json", "--out", tmp_path / "report.json")
    assert (ended.code, ended.err) == (1, "")
    report = json.loads(ended.out)
    assert report == json.loads((tmp_path / "report.json").read_text())
    assert {f["kind"] for f in report["findings"] if f["severity"] == "error"} == {
        "non-finite",
        "empty",
    }
    assert call(capfd, "data", "check", *of(clouds), "--fix").code == 1
    assert len((clouds / FILE_NAME).read_text().splitlines()) == 3
    assert call(capfd, "data", "check", *of(clouds)).code == 0
    words = ["--out", tmp_path / "features", "--points", "16", "--k", "4", "--threads", "1"]
    worked(capfd, "extract", *of(clouds), *words)
    for split in ("train", "test"):
        with np.load(tmp_path / f"features/folder_{split}.npz") as features:
            assert len(features["labels"]) == 8


def test_meshes_are_shown_rendered_and_trained_on(capfd, tmp_path):
    root = write_modelnet_off(tmp_path / "ModelNet10")
    mesh = [*of(root, "modelnet-off"), "--mesh-points", "64"]
    out = tmp_path / "views"
    words = ["--views", "2", "--image-size", "32", "--style", "depth", "--cameras", "sphere"]
    assert str(out / "contact.png") in worked(capfd, "data", "render", *mesh, *words, "--out", out)
    assert len(list(out.rglob("0[01].png"))) == 2 * len(list(root.rglob("train/*.off")))
    worked(capfd, "data", "show", *mesh, "--limit", "4", "--out", tmp_path / "show")
    assert (tmp_path / "show/show.html").read_text().startswith("<!doctype html>")
    options = tiny.options(root, tmp_path / "run", data="modelnet-off", batch_size=2, epochs=1)
    ended = pointssl("pretrain", *tiny.flags({**options, "views": 2, "mesh_points": 64}), ranks=1)
    assert ended.returncode == 0, ended.stderr


def test_two_processes_pack_and_train_on_a_mixture(clouds, tmp_path):
    data = f"concat:folder@{clouds}+shapes*0.01"
    options = tiny.options(clouds, tmp_path / "run", image_encoder="none", epochs=1, threads=1)
    ended = pointssl("pretrain", *tiny.flags({**options, "data": data}), ranks=2)
    assert ended.returncode == 0, ended.stderr
    assert "25 clouds of 32 points" in ended.stdout


@pytest.mark.parametrize("command", ["check", "convert", "render", "show"])
def test_mistakes_end_in_one_line(capfd, clouds, tmp_path, command):
    out = [] if command == "check" else ["--out", tmp_path / "out"]
    words = ["data", command, *out]
    assert "did you mean 'folder'" in refused(capfd, 2, *words, *of(clouds, "foldr"))
    assert "--size: folder does not have this option" in refused(
        capfd, 2, *words, *of(clouds), "--size", "3"
    )
    for root, name in ((tmp_path / "absent", "folder"), (clouds, "s3dis")):
        ended = call(capfd, *words, *of(root, name))
        assert ended.code == 1, ended
        assert_no_traceback(ended.err)
        assert str(root) in ended.out + ended.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["convert", "render", "show"])
def test_a_place_that_cannot_be_written(capfd, clouds, tmp_path, command):
    (tmp_path / "file").touch()
    ended = call(capfd, "data", command, *of(clouds), "--out", tmp_path / "file/out")
    assert ended.code in (1, 2)
    assert ended.err.startswith("pointssl: error: ")
    assert ended.err.count("\n") == 1
    assert "file" in ended.err
