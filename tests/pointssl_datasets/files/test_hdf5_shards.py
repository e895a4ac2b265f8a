"""Rows counted through several HDF5 files; nothing outside of them, and nothing merely promised."""

import os

import h5py
import numpy as np
import pytest
from layouts import write_hdf5

from pointssl_datasets.base.errors import DataError
from pointssl_datasets.files.hdf5_shards import open_shards, whole_numbers

SHAPES = {"data": (None, 3), "label": ()}


def write(path, rows, **more):
    arrays = {"data": np.arange(rows * 6.0).reshape(rows, 2, 3), "label": np.arange(rows)}
    return write_hdf5(path, **{**arrays, **more})


def test_rows_are_counted_through(tmp_path):
    sizes = (70, 0, 1, 130)  # more than one block of rows, and files without any
    paths = [write(tmp_path / f"part{i}.h5", rows) for i, rows in enumerate(sizes)]
    shards = open_shards(paths, SHAPES)
    expected = [(path, row) for path, rows in zip(paths, sizes, strict=True) for row in range(rows)]
    assert shards.count == len(shards.names) == len(expected) == 201
    rng = np.random.default_rng(0)
    for index in rng.permutation(201)[:60]:
        path, row = expected[index]
        data, label = shards.read(int(index))
        with h5py.File(path) as file:
            np.testing.assert_array_equal(data, file["data"][row])
        assert label == row
        assert shards.where(int(index)) == f"{path}: row {row}"
        assert shards.names[index] == f"{path.stem}/{row:05d}"


def test_optional_keys_must_be_in_every_file(tmp_path):
    paths = [write(tmp_path / "a.h5", 2, mask=np.zeros((2, 2)))]
    assert open_shards(paths, SHAPES, {"mask": (None,)}).keys == ("data", "label", "mask")
    paths.append(write(tmp_path / "b.h5", 2))
    assert open_shards(paths, SHAPES, {"mask": (None,)}).keys == ("data", "label")


def test_nothing_outside_of_the_file_is_read(tmp_path):
    secret = write(tmp_path / "secret.h5", 3)
    raw = tmp_path / "raw.bin"
    raw.write_bytes(bytes(24 * 6))
    layout = h5py.VirtualLayout(shape=(3, 2, 3), dtype=float)
    layout[:] = h5py.VirtualSource(secret, "data", shape=(3, 2, 3))
    for kind in ("external link", "soft link", "virtual", "external file", "group"):
        path = tmp_path / f"{kind}.h5"
        with h5py.File(path, "w") as file:
            file["label"] = np.arange(3)
            file["other"] = np.zeros((3, 2, 3))
            if kind == "external link":
                file["data"] = h5py.ExternalLink(str(secret), "data")
            elif kind == "soft link":
                file["data"] = h5py.SoftLink("/other")
            elif kind == "virtual":
                file.create_virtual_dataset("data", layout)
            elif kind == "external file":
                file.create_dataset("data", (3, 2, 3), float, external=[(str(raw), 0, 144)])
            else:
                file.create_group("data")
        with pytest.raises(DataError, match="'data' is not an array stored in this file"):
            open_shards([path], SHAPES)


def test_what_a_header_merely_promises_is_not_allocated(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("data", (3, 10**12, 3), "f4", chunks=(1, 1000, 3))
        file["label"] = np.arange(3)
    with pytest.raises(DataError, match="but only 0 bytes are stored"):
        open_shards([path], SHAPES)


def test_zeros_may_be_packed_small(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        zeros = np.zeros((100, 2048, 3), np.float32)
        file.create_dataset("data", data=zeros, compression="gzip", compression_opts=9)
        file.create_dataset("label", data=np.zeros(100, int), compression="gzip")
    assert open_shards([path], SHAPES).count == 100


def test_damage(tmp_path):
    path = write(tmp_path / "a.h5", 3)
    raw = path.read_bytes()
    for spoilt in (raw[: len(raw) // 2], b"<html>", b""):
        path.write_bytes(spoilt)
        with pytest.raises(DataError, match="truncated or damaged HDF5"):
            open_shards([path], SHAPES)
    path.unlink()
    with pytest.raises(DataError, match=r"a.h5"):
        open_shards([path], SHAPES)


def test_random_damage_is_always_said(tmp_path):
    raw = write(tmp_path / "a.h5", 3).read_bytes()
    path, rng, refused = tmp_path / "b.h5", np.random.default_rng(0), 0
    for number in range(300):
        spoilt = bytearray(raw)
        for _ in range(rng.integers(1, 6)):
            spoilt[rng.integers(0, len(raw))] = rng.integers(0, 256)
        path.write_bytes(spoilt)
        os.utime(path, ns=(number, number))  # blocks of rows are kept by time of modification
        try:
            shards = open_shards([path], SHAPES)
            for row in range(shards.count):
                shards.read(row)
        except DataError:
            refused += 1
    assert refused > 50


@pytest.mark.parametrize("kind", [np.uint8, np.int32, np.float32])
def test_whole_numbers(kind):
    values = np.array([0, 3, 12], kind)
    found = whole_numbers(values, range(13), "here", "part")
    assert found.dtype == np.int64
    assert found.tolist() == [0, 3, 12]
    with pytest.raises(DataError, match=r"here: 2 of 3 parts are not from 1 to 11: 0, ..."):
        whole_numbers(values, range(1, 12), "here", "part")


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0, 0.5, 1e300])
def test_what_is_no_whole_number(value):
    with pytest.raises(DataError, match="here: the label is not from 0 to 4: "):
        whole_numbers(np.array([value]), range(5), "here", "label")
