"""Downloads from a real server on this machine that does what servers do, and worse."""

import hashlib
import io
import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import tarfile
import threading
import time
import zipfile

import h5py
import numpy as np
import pytest
from cloud_files import random_cloud
from hostile_server import (
    answer,
    deaf,
    dropping,
    endless,
    good,
    moved,
    serving,
    silent,
    status,
    trickling,
)
from processes import ENV

from pointssl.config.data import DownloadConfig
from pointssl.recipes.data import download as recipe
from pointssl_datasets.base.errors import DataError, UsageError, UserError
from pointssl_datasets.catalogue import CATALOGUE, Archive, Entry
from pointssl_datasets.downloading.download import WORK, download
from pointssl_datasets.downloading.fetch import RetryPolicy, fetch
from pointssl_datasets.downloading.install import RECEIPT
from pointssl_datasets.sets.modelnet import ENTRIES

HASTY = RetryPolicy(timeout=0.5, attempts=3, wait=0.01)


def modelnet(classes=40, train=80, test=20, top="modelnet40_ply_hdf5_2048/"):
    """A small ModelNet in the HDF5 layout: file name -> content."""
    files = {f"{top}shape_names.txt": "\n".join(f"class{i}" for i in range(classes)).encode()}
    for split, count in (("train", train), ("test", test)):
        raw = io.BytesIO()
        with h5py.File(raw, "w") as file:
            file["data"] = np.stack([random_cloud(16, seed=i) for i in range(count)])
            file["label"] = (np.arange(count) % classes)[:, None]
        files[f"{top}ply_data_{split}0.h5"] = raw.getvalue()
        files[f"{top}{split}_files.txt"] = f"data/x/ply_data_{split}0.h5\n".encode()
    return files


def zipped(files):
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return raw.getvalue()


BODY = zipped(modelnet())
NOISE = zipped({"noise": np.random.default_rng(0).bytes(300_000)})


def published(body=BODY, **change):
    facts = {"size": len(body), "sha256": hashlib.sha256(body).hexdigest()}
    return Archive(file_name="a.zip", **{**facts, **change})


def unpublished():
    return Archive(file_name="a.zip")


@pytest.fixture
def server():
    with serving() as server:
        yield server


@pytest.fixture
def catalogue(monkeypatch, server):
    """ModelNet40's entry, with our server for its mirrors."""

    def put(*paths, body=BODY, checked=True, **change):
        known = published(body) if checked else unpublished()
        urls = tuple(server.url + path for path in paths)
        archive = Archive(
            file_name="a.zip",
            urls=urls,
            size=known.size,
            sha256=known.sha256,
            md5=change.pop("md5", None),
        )
        known = vars(CATALOGUE["modelnet40"])
        fields = {**known, "archives": (archive,), "gigabytes": None, **change}
        monkeypatch.setitem(ENTRIES, "modelnet40", Entry(**fields))

    return put


def get(server, tmp_path, *paths, archive=None, **more):
    lines = []
    archive = published() if archive is None else archive
    urls = [path if ":" in path else server.url + path for path in paths]
    fetched = fetch(archive, urls, tmp_path, retries=HASTY, say=lines.append, **more)
    return fetched, lines


def refuse(server, tmp_path, *paths, **more):
    with pytest.raises(UserError) as caught:
        get(server, tmp_path, *paths, **more)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "a.zip").exists()
    return str(caught.value)


# ---- one file


def test_plain(server, tmp_path):
    server.pages["/a.zip"] = good(BODY)
    fetched, lines = get(server, tmp_path, "/a.zip")
    assert fetched.path.read_bytes() == BODY
    assert (fetched.size, fetched.checked) == (len(BODY), "sha256")
    assert fetched.sha256 == hashlib.sha256(BODY).hexdigest()
    assert not lines
    assert not list(tmp_path.glob("*.part*"))
    assert server.requests[0].encoding == "identity"
    get(server, tmp_path, "/a.zip")  # whole already: nobody is asked
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("validator", "mark"),
    [("ETag", '"7"'), ("Last-Modified", "Sun, 01 Nov 2020 00:00:00 GMT")],
)
def test_dropped_connection_continues_where_it_broke_off(server, tmp_path, validator, mark):
    step = len(NOISE) // 4 + 1
    server.pages["/a.zip"] = dropping(NOISE, step, etag=mark, validator=validator, times=3)
    body = published(NOISE)
    fetched, lines = get(server, tmp_path, "/a.zip", archive=body)
    assert fetched.path.read_bytes() == NOISE
    ranges = [request.range for request in server.requests]
    assert ranges == [None, *(f"bytes={step * i}-" for i in (1, 2, 3))][: len(ranges)]
    assert {request.if_range for request in server.requests[1:]} == {mark}
    assert "stopped after" in lines[0]


def test_a_later_run_continues_too(server, tmp_path):
    server.pages["/a.zip"] = dropping(NOISE, 1000)
    line = refuse(server, tmp_path, "/a.zip", archive=published(NOISE))
    assert f"stopped after 3,000 of {len(NOISE):,} bytes (3 attempts)" in line
    server.pages["/a.zip"] = good(NOISE)
    fetched, _ = get(server, tmp_path, "/a.zip", archive=published(NOISE))
    assert server.requests[-1].range == "bytes=3000-"
    assert fetched.path.read_bytes() == NOISE


def test_whole_part_of_a_killed_run_is_not_fetched_again(server, tmp_path, monkeypatch):
    server.pages["/a.zip"] = good(BODY)
    with monkeypatch.context() as patch:
        patch.setattr("pointssl_datasets.downloading.fetch._verify", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            get(server, tmp_path, "/a.zip")
    assert get(server, tmp_path, "/a.zip")[0].path.read_bytes() == BODY
    assert len(server.requests) == 1


def test_server_that_ignores_ranges_starts_again(server, tmp_path):
    server.pages["/a.zip"] = deaf(BODY, 500)
    fetched, _ = get(server, tmp_path, "/a.zip")
    assert fetched.path.read_bytes() == BODY
    assert [request.range for request in server.requests] == [None, "bytes=500-"]


def test_weak_or_missing_validators_are_not_continued(server, tmp_path):
    for number, mark in enumerate(('W/"1"', "")):
        path = f"/{number}/a.zip"
        server.pages[path] = dropping(BODY, 500, etag=mark, times=1)
        (tmp_path / str(number)).mkdir()
        get(server, tmp_path / str(number), path)
        assert [request.range for request in server.asked(path)] == [None, None]


def test_file_that_changes_between_attempts(server, tmp_path):
    """What came of the old one must not be glued to the new one."""
    new = zipped({"new": b"n" * 5000})

    def page(handler, seen):
        (dropping(NOISE, 1000, etag='"old"') if seen == 0 else good(new, etag='"new"'))(
            handler, seen
        )

    server.pages["/a.zip"] = page
    fetched, _ = get(server, tmp_path, "/a.zip", archive=unpublished())
    assert fetched.path.read_bytes() == new
    assert server.requests[1].if_range == '"old"'
    assert fetched.checked == ""


def test_file_that_has_become_shorter(server, tmp_path):
    short = zipped({"short": b"s"})

    def page(handler, seen):
        if seen == 0:
            dropping(NOISE, 5000)(handler, seen)
        elif handler.headers.get("Range"):
            answer(handler, b"", code=416)
        else:
            good(short)(handler, seen)

    server.pages["/a.zip"] = page
    assert get(server, tmp_path, "/a.zip", archive=unpublished())[0].path.read_bytes() == short


def test_continued_part_of_two_versions_is_fetched_once_more(server, tmp_path):
    """A server that keeps the ETag though the file has changed: the checksum tells."""
    mixed = NOISE[:100] + bytes(400) + NOISE[500:]

    def page(handler, seen):
        (dropping(mixed, 600) if seen == 0 else good(NOISE))(handler, seen)

    server.pages["/a.zip"] = page
    fetched, lines = get(server, tmp_path, "/a.zip", archive=published(NOISE))
    assert fetched.path.read_bytes() == NOISE
    assert [request.range for request in server.requests] == [None, "bytes=600-", None]
    assert any("its sha256 is" in line for line in lines)


def test_another_range_than_was_asked_for(server, tmp_path):
    def page(handler, seen):
        if handler.headers.get("Range"):
            where = f"bytes 0-{len(BODY) - 1}/{len(BODY)}"
            answer(handler, BODY, code=206, Content_Range=where)
        else:
            dropping(BODY, 500, times=1)(handler, seen)

    server.pages["/a.zip"] = page
    fetched, lines = get(server, tmp_path, "/a.zip")
    assert fetched.path.read_bytes() == BODY
    assert any("another range" in line for line in lines)


def test_length_that_promises_more(server, tmp_path):
    server.pages["/a.zip"] = lambda handler, _: answer(handler, BODY, length=len(BODY) + 10)
    line = refuse(server, tmp_path, "/a.zip")
    assert f"offers {len(BODY) + 10:,} bytes instead of {len(BODY):,}" in line
    line = refuse(server, tmp_path, "/a.zip", archive=unpublished())
    assert f"stopped after {len(BODY):,} of {len(BODY) + 10:,} bytes" in line


def test_length_that_promises_less(server, tmp_path, catalogue):
    page = lambda handler, _: answer(handler, BODY, length=len(BODY) - 100)  # noqa: E731
    server.pages["/a.zip"] = page
    line = refuse(server, tmp_path, "/a.zip")
    assert f"offers {len(BODY) - 100:,} bytes" in line
    catalogue("/a.zip", checked=False)  # nobody knows better: unpacking does
    with pytest.raises(DataError, match="truncated or damaged"):
        download("modelnet40", tmp_path / "data", retries=HASTY, say=lambda _: None)
    assert not list((tmp_path / "data").iterdir())


def test_no_length_at_all(server, tmp_path):
    server.pages["/a.zip"] = lambda handler, _: answer(handler, BODY, length=False)
    assert get(server, tmp_path, "/a.zip")[0].path.read_bytes() == BODY


def test_endless_body(server, tmp_path):
    server.pages["/a.zip"] = endless()
    line = refuse(server, tmp_path, "/a.zip")
    assert f"does not stop after {len(BODY):,} bytes" in line
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("code", [500, 503, 429, 408])
def test_errors_that_pass(server, tmp_path, code):
    server.pages["/a.zip"] = status(code, good(BODY), times=2)
    fetched, lines = get(server, tmp_path, "/a.zip")
    assert fetched.path.read_bytes() == BODY
    assert len(server.requests) == 3
    assert f"answers {code}" in lines[0]


def test_errors_that_stay_and_the_next_mirror(server, tmp_path):
    server.pages |= {"/1": status(500), "/2": status(404), "/3": good(BODY)}
    fetched, _ = get(server, tmp_path, "/1", "/2", "/3")
    assert fetched.origin == f"{server.url}/3"
    assert [len(server.asked(path)) for path in ("/1", "/2", "/3")] == [3, 1, 1]


def test_every_mirror_is_named_with_its_fault(server, tmp_path):
    server.pages |= {"/1": status(500), "/2": status(404)}
    line = refuse(
        server, tmp_path, "/1", "/2", "http://127.0.0.1:1/a.zip", "ftp://x/a.zip", "http://["
    )
    for said in (
        f"{server.url}/1: answers 500", f"{server.url}/2: answers 404", "(3 attempts)",
        "127.0.0.1:1/a.zip: cannot be reached", "ftp://x/a.zip: only http",
        "http://[: is not a valid address", "--from", "--mirror",
    ):  # fmt: skip
        assert said in line


def test_redirects(server, tmp_path):
    server.pages |= {
        "/fine": moved("/really"), "/really": good(BODY), "/circle": moved("/circle"),
        "/file": moved("file:///etc/passwd"), "/ftp": moved("ftp://127.0.0.1/x"),
        "/data": moved("data:text/plain,hello"),
    }  # fmt: skip
    line = refuse(server, tmp_path, "/circle", "/file", "/ftp", "/data")
    assert "/circle: redirects in a circle" in line
    assert "/file: redirects wrongly" in line
    assert "/ftp: redirects to ftp://127.0.0.1/x, which is not followed" in line
    assert "/data: redirects wrongly" in line
    assert get(server, tmp_path, "/fine")[0].path.read_bytes() == BODY


def test_wrong_checksum_then_the_right_mirror(server, tmp_path):
    other = BODY[:-1] + bytes([BODY[-1] ^ 1])
    server.pages |= {"/bad": good(other), "/good": good(BODY)}
    fetched, lines = get(server, tmp_path, "/bad", "/good")
    assert fetched.origin.endswith("/good")
    assert "the published one" in lines[0]
    assert len(server.asked("/bad")) == 1
    assert sorted(os.listdir(tmp_path)) == ["a.zip", "a.zip.json"]


def test_md5_where_only_that_is_published(server, tmp_path):
    server.pages["/a.zip"] = good(BODY)
    right = hashlib.md5(BODY).hexdigest()
    known = published(sha256=None, md5=right)
    assert get(server, tmp_path, "/a.zip", archive=known)[0].checked == "md5"
    (tmp_path / "a.zip").unlink()
    line = refuse(server, tmp_path, "/a.zip", archive=published(sha256=None, md5="0" * 32))
    assert f"its md5 is {right}, the published one {'0' * 32}" in line


def test_a_web_page_instead(server, tmp_path):
    server.pages["/a.zip"] = good(b"<!DOCTYPE html><title>Please sign in</title>")
    line = refuse(server, tmp_path, "/a.zip", archive=unpublished())
    assert "it did not send an archive, perhaps a web page" in line
    server.pages["/a.zip"] = good(b"")
    assert "did not send an archive" in refuse(server, tmp_path, "/a.zip", archive=unpublished())


def test_content_encoding_nobody_asked_for(server, tmp_path):
    page = lambda handler, _: answer(handler, BODY, Content_Encoding="gzip")  # noqa: E731
    server.pages["/a.zip"] = page
    assert "Content-Encoding gzip" in refuse(server, tmp_path, "/a.zip")
    # Some servers say so of a .tar.gz, and mean the file itself.
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w:gz"):
        pass
    body = raw.getvalue()
    server.pages["/a.tar.gz"] = lambda handler, _: answer(handler, body, Content_Encoding="gzip")
    known = Archive(file_name="a.tar.gz")
    assert get(server, tmp_path, "/a.tar.gz", archive=known)[0].path.read_bytes() == body


def test_slow_and_silent_servers(server, tmp_path):
    server.pages |= {"/slow": trickling(BODY, 0.05), "/silent": silent(2), "/good": good(BODY)}
    fetched, lines = get(server, tmp_path, "/slow", "/silent", "/good")
    assert fetched.origin.endswith("/good")
    assert any("sends less than 1024 bytes per second" in line for line in lines)
    assert any("does not respond for 0.5 s" in line for line in lines)


def test_disk_that_is_too_small(server, tmp_path):
    page = lambda handler, _: answer(handler, BODY, length=2**37)  # noqa: E731
    server.pages["/a.zip"] = page
    if shutil.disk_usage(tmp_path).free < 2**37:
        line = refuse(server, tmp_path, "/a.zip", archive=unpublished())
        assert f"{2**37:,} bytes are needed" in line
        assert "--to" in line
    answer_less = lambda handler, _: answer(handler, BODY, length=2**60)  # noqa: E731
    server.pages["/a.zip"] = answer_less
    assert "too much" in refuse(server, tmp_path, "/a.zip", archive=unpublished())


def test_disk_that_fills_up_keeps_what_has_arrived(server, tmp_path):
    resource = pytest.importorskip("resource")
    server.pages["/a.zip"] = good(NOISE)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, hard))
    try:
        line = refuse(server, tmp_path, "/a.zip", archive=published(NOISE))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert "The part that has arrived is kept" in line
    assert len(server.requests) == 1  # not asked again and again
    have = next(tmp_path.glob("*.part")).stat().st_size
    assert 0 < have <= 2**16
    fetched, _ = get(server, tmp_path, "/a.zip", archive=published(NOISE))
    assert server.requests[-1].range == f"bytes={have}-"
    assert fetched.path.read_bytes() == NOISE


@pytest.fixture(scope="module")
def self_signed(tmp_path_factory):
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl to make a certificate")
    folder = tmp_path_factory.mktemp("certificate")
    key, certificate = str(folder / "key.pem"), str(folder / "cert.pem")
    made = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "1",
        "-subj",
        "/CN=127.0.0.1",
    ]
    subprocess.run([*made, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


def test_certificate_that_is_not_valid(tmp_path, self_signed):
    """Fine where a published SHA-256 vouches for the content; else refused."""
    with serving(self_signed) as server:
        server.pages |= {"/a.zip": good(BODY), "/bad.zip": good(NOISE)}
        for weak in (unpublished(), published(sha256=None, md5=hashlib.md5(BODY).hexdigest())):
            line = refuse(server, tmp_path, "/a.zip", archive=weak)
            assert "its certificate is not valid (self" in line
        assert not server.requests
        assert "its sha256 is" in refuse(server, tmp_path, "/bad.zip", archive=published(size=None))
        fetched, lines = get(server, tmp_path, "/a.zip")
        assert fetched.path.read_bytes() == BODY
        assert "no valid certificate" in lines[0]


def test_never_from_https_back_to_http(tmp_path, self_signed, server):
    server.pages["/a.zip"] = good(BODY)
    with serving(self_signed) as safe:
        safe.pages["/a.zip"] = moved(f"{server.url}/a.zip")
        assert "which is not followed" in refuse(safe, tmp_path, "/a.zip")
    assert not server.requests


# ---- a dataset


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
    from cloud_files import ply_bytes
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


# ---- the command


def config(tmp_path, **more):
    facts = {"name": "modelnet40", "to": tmp_path / "data", "progress": False}
    return DownloadConfig(**{**facts, **more})


def test_terms_come_first(server, tmp_path, catalogue, capsys, monkeypatch):
    server.pages["/a.zip"] = good(BODY)
    catalogue("/a.zip")
    with pytest.raises(UsageError, match="--accept-terms") as caught:
        recipe.run(config(tmp_path), HASTY)
    assert caught.value.exit_code == 2
    assert CATALOGUE["modelnet40"].terms in capsys.readouterr().out
    assert not server.requests
    assert not (tmp_path / "data").exists()

    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda _: "n")
    with pytest.raises(UsageError, match="not accepted"):
        recipe.run(config(tmp_path), HASTY)
    assert not server.requests
    monkeypatch.setattr("builtins.input", lambda _: "Yes")
    folder = recipe.run(config(tmp_path), HASTY)
    assert folder.is_dir()
    assert "80 train" in capsys.readouterr().out


def test_accepted_on_the_command_line(server, tmp_path, catalogue, capsys):
    server.pages["/a.zip"] = good(BODY)
    catalogue("/a.zip")
    recipe.run(config(tmp_path, accept_terms=True), HASTY)
    out = capsys.readouterr().out
    assert out.index("Terms of modelnet40") < out.index("SHA-256")


INTERRUPTED = """
import dataclasses, sys
from pathlib import Path
from pointssl.config.data import DownloadConfig
from pointssl.recipes.data.download import run
from pointssl_datasets.catalogue import Archive
from pointssl_datasets.sets.modelnet import ENTRIES

archive = Archive(file_name="a.zip", urls=(sys.argv[1],))
ENTRIES["modelnet40"] = dataclasses.replace(ENTRIES["modelnet40"], archives=(archive,))
run(DownloadConfig(name="modelnet40", to=Path(sys.argv[2]), accept_terms=True))
"""


def test_interrupt_keeps_the_part_and_says_how_to_go_on(server, tmp_path):
    """A real ^C, and the same command again."""
    gate = threading.Event()

    def page(handler, seen):
        if seen:
            return good(BODY)(handler, seen)
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(BODY)))
        handler.send_header("ETag", '"1"')
        handler.end_headers()
        handler.wfile.write(BODY[:1000])
        gate.wait(30)

    server.pages["/a.zip"] = page
    command = [sys.executable, "-c", INTERRUPTED, f"{server.url}/a.zip", str(tmp_path)]
    first = subprocess.Popen(command, env=ENV, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    end = time.monotonic() + 60
    while not any(part.stat().st_size for part in tmp_path.rglob("*.part")):
        assert time.monotonic() < end
        time.sleep(0.01)
    first.send_signal(signal.SIGINT)
    out, _ = first.communicate(timeout=60)
    gate.set()
    assert b"the same command resumes the download" in out
    assert next(tmp_path.rglob("*.part")).stat().st_size == 1000
    second = subprocess.run(command, env=ENV, capture_output=True, timeout=60, text=True)
    assert (second.returncode, second.stderr) == (0, "")
    assert server.requests[-1].range == "bytes=1000-"
    assert "80 train, 20 test in 40 classes" in second.stdout
    assert os.listdir(tmp_path) == ["modelnet40_ply_hdf5_2048"]


def test_folder_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("POINTSSL_DATA", str(tmp_path / "there"))
    (tmp_path / "mine.zip").write_bytes(BODY)
    folder = recipe.run(DownloadConfig(name="modelnet40", archive=(tmp_path / "mine.zip",)))
    assert folder == tmp_path / "there" / "modelnet40_ply_hdf5_2048"
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is a file"):
        recipe.run(DownloadConfig(name="modelnet40", to=tmp_path / "file"))
