"""Datasets from a real server on this machine, and from archives that are already here."""

import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from functools import partial

import pytest
from hostile_server import (
    answer,
    good,
    serving,
)
from processes import ENV
from small_archives import (
    BODY,
    HASTY,
    NOISE,
    modelnet,
    put_in_catalogue,
    zipped,
)

from pointssl_datasets.base.errors import DataError, UsageError, UserError
from pointssl_datasets.catalogue import CATALOGUE, Archive, Entry
from pointssl_datasets.downloading.download import WORK, download
from pointssl_datasets.downloading.fetch import RetryPolicy
from pointssl_datasets.downloading.install import RECEIPT
from pointssl_datasets.sets.modelnet import ENTRIES


@pytest.fixture
def server():
    with serving() as server:
        yield server


@pytest.fixture
def catalogue(monkeypatch, server):
    """Puts an archive of the server into ModelNet40's entry."""
    return partial(put_in_catalogue, monkeypatch, server)


def test_a_truncated_archive_without_a_checksum_is_found_by_unpacking(server, tmp_path, catalogue):
    page = lambda handler, _: answer(handler, BODY, length=len(BODY) - 100)  # noqa: E731
    server.pages["/a.zip"] = page
    catalogue("/a.zip", checked=False)
    with pytest.raises(DataError, match="truncated or damaged"):
        download("modelnet40", tmp_path / "data", retries=HASTY, say=lambda _: None)
    assert not list((tmp_path / "data").iterdir())


def test_download_unpack_and_open(server, tmp_path, catalogue):
    server.pages["/a.zip"] = good(BODY)
    catalogue("/a.zip")
    lines = []
    root = tmp_path / "new" / "data"
    folder = download("modelnet40", root, retries=HASTY, say=lines.append)
    assert folder == root / "modelnet40_ply_hdf5_2048"
    assert os.listdir(root) == [folder.name]
    assert (folder / "train_files.txt").is_file()
    sha256 = hashlib.sha256(BODY).hexdigest()
    assert f"{len(BODY):,} bytes" in lines[-2]
    assert sha256 in lines[-2]
    assert lines[-1] == (
        "modelnet40: 80 train, 20 test in 40 classes; the original has 9840 train, 2468 test"
    )
    receipt = json.loads((folder / RECEIPT).read_text())
    assert receipt["name"] == "modelnet40"
    assert receipt["date"]
    assert receipt["archives"] == [
        {
            "file": "a.zip", "from": f"{server.url}/a.zip", "size": len(BODY), "sha256": sha256,
            "checked": "sha256",
        }
    ]  # fmt: skip
    # Again: nobody is asked, nothing is touched.
    before = (folder / RECEIPT).stat().st_mtime_ns
    assert download("modelnet40", root, retries=HASTY, say=lines.append) == folder
    assert lines[-1] == "modelnet40 is already installed: 80 train, 20 test in 40 classes"
    assert len(server.requests) == 1
    assert (folder / RECEIPT).stat().st_mtime_ns == before


def test_receipt_of_what_nobody_vouches_for(server, tmp_path, catalogue):
    server.pages["/a.zip"] = good(BODY)
    catalogue("/a.zip", checked=False)
    lines = []
    folder = download("modelnet40", tmp_path, retries=HASTY, keep_archive=True, say=lines.append)
    archive = json.loads((folder / RECEIPT).read_text())["archives"][0]
    assert archive["checked"] is None
    assert archive["sha256"] == hashlib.sha256(BODY).hexdigest()
    assert archive["sha256"] in lines[0]
    assert (tmp_path / "a.zip").read_bytes() == BODY


def test_archive_of_ones_own_is_never_deleted(tmp_path, catalogue, server):
    mine = tmp_path / "mine.zip"
    mine.write_bytes(BODY)
    lines = []
    folder = download("modelnet40", tmp_path / "data", archives=[mine], say=lines.append)
    assert mine.read_bytes() == BODY
    receipt = json.loads((folder / RECEIPT).read_text())
    assert receipt["archives"][0]["from"] == str(mine)
    assert not server.requests


def test_archive_of_ones_own_that_is_not_as_published(tmp_path, catalogue):
    catalogue("/a.zip")
    mine = tmp_path / "a.zip"
    mine.write_bytes(zipped(modelnet(train=40, test=40)))  # packed anew: fine, and said
    lines = []
    download("modelnet40", tmp_path / "1", archives=[mine], say=lines.append)
    assert "not the published archive" in lines[0]
    mine.write_bytes(BODY[:-100] + bytes(100))  # as long as it ought to be: damaged
    with pytest.raises(DataError, match="damaged: its sha256 is"):
        download("modelnet40", tmp_path / "2", archives=[mine], say=lines.append)
    mine.write_bytes(BODY[:-100])
    with pytest.raises(DataError, match="truncated or damaged"):
        download("modelnet40", tmp_path / "3", archives=[mine], say=lines.append)
    for name in "23":
        assert not list((tmp_path / name).iterdir())
    for wrong in (tmp_path / "absent.zip", tmp_path):
        with pytest.raises(UserError, match="--from"):
            download("modelnet40", tmp_path / "4", archives=[wrong], say=lines.append)


def test_several_archives_make_one_dataset(tmp_path):
    """CrossPoint's: clouds in one, pictures in another."""
    from cloud_files import ply_bytes, random_cloud
    from PIL import Image

    picture = io.BytesIO()
    Image.new("RGB", (8, 8)).save(picture, "PNG")
    parts = {
        "shapenet.tar.gz": {"ShapeNet/02942699/a.ply": ply_bytes(random_cloud())},
        "shapenet_render.tar.gz": {
            "ShapeNetRendering/02942699/a/rendering/00.png": picture.getvalue()
        },
    }
    for name, files in parts.items():
        with tarfile.open(tmp_path / name, "w:gz") as archive:
            for inner, content in files.items():
                info = tarfile.TarInfo(inner)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    archives = [tmp_path / name for name in parts]
    folder = download("shapenet-render", tmp_path / "data", archives=archives, say=lambda _: None)
    assert sorted(os.listdir(folder)) == ["ShapeNet", "ShapeNetRendering", RECEIPT]
    with pytest.raises(DataError, match="is in another archive too"):
        download(
            "shapenet-render", tmp_path / "2", archives=[*archives, archives[0]], say=lambda _: None
        )


@pytest.mark.parametrize("top", ["", "a/", "modelnet40_ply_hdf5_2048/"])
def test_lone_folder_around_everything_is_taken_off(tmp_path, top):
    (tmp_path / "a.zip").write_bytes(zipped(modelnet(top=top)))
    folder = download(
        "modelnet40", tmp_path / "data", archives=[tmp_path / "a.zip"], say=lambda _: None
    )
    assert (folder / "shape_names.txt").is_file()


def test_archive_without_the_layout(server, tmp_path, catalogue):
    server.pages["/a.zip"] = good(NOISE)
    catalogue("/a.zip", body=NOISE)
    for _ in range(2):
        with pytest.raises(DataError) as caught:
            download("modelnet40", tmp_path, retries=HASTY, say=lambda _: None)
    assert "does not contain modelnet40: expected train_files.txt" in str(caught.value)
    assert not (tmp_path / "modelnet40_ply_hdf5_2048").exists()
    assert len(server.requests) == 1  # it is as published, and was kept
    assert [path.name for path in tmp_path.iterdir()] == [WORK]


def test_something_else_where_it_would_go(server, tmp_path, catalogue):
    catalogue("/a.zip")
    (tmp_path / "modelnet40_ply_hdf5_2048").mkdir()
    with pytest.raises(DataError, match="Move it away first"):
        download("modelnet40", tmp_path, retries=HASTY, say=lambda _: None)
    assert not server.requests


def test_dataset_that_lies_elsewhere_in_the_folder(server, tmp_path, catalogue):
    catalogue("/a.zip")
    with zipfile.ZipFile(io.BytesIO(BODY)) as archive:
        archive.extractall(tmp_path)
    (tmp_path / "modelnet40_ply_hdf5_2048").rename(tmp_path / "mine")
    lines = []
    assert download("modelnet40", tmp_path, retries=HASTY, say=lines.append) == tmp_path
    assert "already installed" in lines[0]
    # ModelNet10 has the same layout, and is not ModelNet40.
    with zipfile.ZipFile(io.BytesIO(zipped(modelnet(10, top="ten/")))) as archive:
        archive.extractall(tmp_path / "data")
    server.pages["/a.zip"] = good(BODY)
    download("modelnet40", tmp_path / "data", retries=HASTY, say=lines.append)
    assert sorted(os.listdir(tmp_path / "data")) == ["modelnet40_ply_hdf5_2048", "ten"]


def test_mirrors_of_ones_own_come_first(server, tmp_path, catalogue):
    server.pages |= {"/known": good(BODY), "/my/a.zip": good(BODY), "/my/renamed": good(BODY)}
    catalogue("/known")
    for number, path in enumerate(("/my/a.zip", "/my/renamed")):
        url = server.url + path
        download(
            "modelnet40", tmp_path / str(number), mirrors=[url], retries=HASTY, say=lambda _: None
        )
    assert [request.path for request in server.requests] == ["/my/a.zip", "/my/renamed"]
    with pytest.raises(UsageError, match="--from"):
        download("modelnet40", tmp_path / "x", mirrors=["file:///etc/passwd"], say=lambda _: None)
    assert not (tmp_path / "x").exists()


def test_mirror_of_another_known_archive(server, tmp_path, monkeypatch):
    ten = zipped(modelnet(10, top="ten/"))
    other = Archive(file_name="ten.zip", size=len(ten), sha256=hashlib.sha256(ten).hexdigest())
    first = Archive(file_name="forty.zip", urls=(f"{server.url}/forty.zip",))
    fields = {**vars(CATALOGUE["modelnet40"]), "archives": (first,), "others": (other,)}
    monkeypatch.setitem(ENTRIES, "modelnet40", Entry(**fields))
    server.pages["/x/ten.zip"] = good(ten)
    folder = download(
        "modelnet40", tmp_path, mirrors=[f"{server.url}/x/ten.zip"], retries=HASTY,
        say=lambda _: None,
    )  # fmt: skip
    assert json.loads((folder / RECEIPT).read_text())["archives"][0]["checked"] == "sha256"
    assert [request.path for request in server.requests] == ["/x/ten.zip"]


def test_what_is_had_by_hand(tmp_path):
    for name in ("scanobjectnn-obj_bg", "s3dis", "shapenet55", "shapenet-render", "modelnet10"):
        with pytest.raises(UsageError) as caught:
            download(name, tmp_path / "x", say=lambda _: None)
        assert "--from" in str(caught.value)
        assert "\n" not in str(caught.value)
    for name in ("shapes", "primitives", "folder", "packed"):
        with pytest.raises(UsageError, match="nothing to download"):
            download(name, tmp_path / "x", say=lambda _: None)
    with pytest.raises(UsageError, match="did you mean 'modelnet40'"):
        download("modlnet40", tmp_path / "x", say=lambda _: None)
    assert not (tmp_path / "x").exists()


def test_too_little_space_is_said_before_anything_is_asked(server, tmp_path, catalogue):
    catalogue("/a.zip", gigabytes=1e6)
    with pytest.raises(UserError, match=r"1000000\.0 GB are needed"):
        download("modelnet40", tmp_path / "data", retries=HASTY, say=lambda _: None)
    assert not server.requests
    assert not list((tmp_path / "data").iterdir())


def test_remains_of_a_killed_unpacking_are_swept(server, tmp_path, catalogue):
    server.pages["/a.zip"] = good(BODY)
    catalogue("/a.zip")
    remains = tmp_path / WORK / "modelnet40_ply_hdf5_2048" / ".unpacked-0.tmp-12345678"
    remains.mkdir(parents=True)
    (remains / "half").write_text("half")
    download("modelnet40", tmp_path, retries=HASTY, say=lambda _: None)
    assert os.listdir(tmp_path) == ["modelnet40_ply_hdf5_2048"]


SECOND = """
import sys
from pathlib import Path
from functools import partial
from pointssl_datasets.downloading.download import download

say = partial(print, flush=True)
print(download("modelnet40", Path(sys.argv[1]), archives=[Path(sys.argv[2])], say=say))
"""


def test_second_process_waits_and_finds_it_done(server, tmp_path, catalogue):
    gate = threading.Event()

    def page(handler, seen):
        gate.wait(20)
        good(BODY)(handler, seen)

    server.pages["/a.zip"] = page
    catalogue("/a.zip")
    (tmp_path / "mine.zip").write_bytes(BODY)
    root = tmp_path / "data"
    first = []
    thread = threading.Thread(
        target=lambda: first.append(
            download("modelnet40", root, retries=RetryPolicy(20, 1, 0), say=lambda _: None)
        )
    )
    thread.start()
    while not server.requests:
        time.sleep(0.01)
    second = subprocess.Popen(
        [sys.executable, "-c", SECOND, str(root), str(tmp_path / "mine.zip")],
        env=ENV,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert "waiting for it" in second.stdout.readline()
    gate.set()
    said = second.communicate(timeout=60)[0].splitlines()
    thread.join()
    assert second.returncode == 0
    assert said == [
        "modelnet40 is already installed: 80 train, 20 test in 40 classes",
        str(first[0]),
    ]
    assert len(server.requests) == 1
    assert os.listdir(root) == [first[0].name]
