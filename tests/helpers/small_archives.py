"""A small ModelNet40 as an archive, and its catalogue entry with addresses of a test's server."""

import hashlib
import io
import zipfile

import h5py
import numpy as np
from cloud_files import random_cloud

from pointssl_datasets.catalogue import CATALOGUE, Archive, Entry
from pointssl_datasets.downloading.fetch import RetryPolicy
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


def put_in_catalogue(monkeypatch, server, *paths, body=BODY, checked=True, **change):
    """ModelNet40's entry has an archive at these paths of the server; ``change`` further fields."""
    known = published(body) if checked else unpublished()
    archive = Archive(
        file_name="a.zip",
        urls=tuple(server.url + path for path in paths),
        size=known.size,
        sha256=known.sha256,
        md5=change.pop("md5", None),
    )
    entry = vars(CATALOGUE["modelnet40"])
    fields = {**entry, "archives": (archive,), "gigabytes": None, **change}
    monkeypatch.setitem(ENTRIES, "modelnet40", Entry(**fields))
