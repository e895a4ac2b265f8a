"""Files for others: the values come back, and names never lead astray."""

import h5py
import numpy as np
import pytest
import trimesh
from cloud_files import random_cloud, random_normals

from pointssl_datasets.base.errors import DataError
from pointssl_datasets.base.source import Cloud
from pointssl_datasets.files.writers import Hdf5Shards, free_path, safe_name, safe_names, write_ply


def full_cloud(count=20, seed=0, name="a", **more):
    rng = np.random.default_rng(seed)
    return Cloud(
        name=name,
        label=1,
        xyz=random_cloud(count, seed),
        normals=random_normals(count, seed),
        colours=rng.random((count, 3), dtype=np.float32),
        part=rng.integers(0, 50, count),
        **more,
    )


def test_ply_holds_every_value(tmp_path):
    cloud = full_cloud()
    write_ply(tmp_path / "a.ply", cloud)
    raw = (tmp_path / "a.ply").read_bytes()
    head, _, body = raw.partition(b"end_header\n")
    assert head.startswith(b"ply\nformat binary_little_endian 1.0\nelement vertex 20\n")
    kinds = [("xyz", "<f4", 3), ("normals", "<f4", 3), ("colours", "u1", 3), ("part", "<i4")]
    rows = np.frombuffer(body, dtype=kinds)
    for field in ("xyz", "normals", "part"):
        np.testing.assert_array_equal(rows[field], cloud[field])
    np.testing.assert_allclose(rows["colours"] / 255, cloud["colours"], atol=0.5 / 255 + 1e-6)


def test_another_reader_reads_the_ply(tmp_path):
    cloud = full_cloud()
    write_ply(tmp_path / "a.ply", cloud)
    theirs = trimesh.load(tmp_path / "a.ply")
    np.testing.assert_array_equal(theirs.vertices.astype(np.float32), cloud["xyz"])
    assert np.abs(theirs.colors[:, :3] / 255 - cloud["colours"]).max() < 0.5 / 255 + 1e-6


def test_ply_without_extras(tmp_path):
    write_ply(tmp_path / "a.ply", Cloud(xyz=random_cloud(5)))
    head, _, body = (tmp_path / "a.ply").read_bytes().partition(b"end_header\n")
    assert head.count(b"property") == 3
    assert len(body) == 5 * 12


@pytest.mark.parametrize("count", [1, 10, 11, 25])
def test_hdf5_shards(tmp_path, count):
    clouds = [full_cloud(seed=i, name=f"chair/ä{i}") for i in range(count)]
    with Hdf5Shards(tmp_path, "train", "train_files.txt", shard=10) as shards:
        for cloud in clouds:
            shards.append(cloud)
    files = (tmp_path / "train_files.txt").read_text().splitlines()
    assert files == [f"ply_data_train{i}.h5" for i in range(-(-count // 10))]
    read = []
    for name in files:
        with h5py.File(tmp_path / name) as file:
            assert sorted(file) == ["data", "id", "label", "normal", "pid"]
            assert file["label"].shape == (len(file["data"]), 1)
            assert all(file[key].compression == "gzip" for key in file)
            read += list(
                zip(file["data"], file["normal"], file["pid"], file["id"].asstr(), strict=True)
            )
    assert len(read) == count
    for cloud, (xyz, normals, part, name) in zip(clouds, read, strict=True):
        np.testing.assert_array_equal(xyz, cloud["xyz"])
        np.testing.assert_array_equal(normals, cloud["normals"])
        np.testing.assert_array_equal(part, cloud["part"])
        assert name == cloud["name"]


def test_hdf5_holds_few_clouds_in_memory(tmp_path):
    with Hdf5Shards(tmp_path, "train", "train_files.txt", shard=200) as shards:
        for i in range(210):
            shards.append(Cloud(name=str(i), label=0, xyz=random_cloud(4, i)))
            assert len(shards._pending) < 64
    with h5py.File(tmp_path / "ply_data_train0.h5") as file:
        assert file["data"].shape == (200, 4, 3)
        np.testing.assert_array_equal(file["data"][150], random_cloud(4, 150))


def test_hdf5_refuses_what_does_not_fit(tmp_path):
    with Hdf5Shards(tmp_path, "train", "train_files.txt") as shards:
        shards.append(full_cloud(name="first"))
        with pytest.raises(DataError, match=r"second has 21 points, first 20.*--points"):
            shards.append(full_cloud(21, name="second"))
        bare = Cloud(name="third", label=0, xyz=random_cloud(20))
        with pytest.raises(DataError, match=r"third has no normals or parts.*--estimate-normals"):
            shards.append(bare)


@pytest.mark.parametrize(
    "name",
    [
        "..", ".", "", "...", "/etc/passwd", "../../up", "a/../b", "a\\b", "C:\\x", "a\0b", "a\nb",
        ".hidden", "con", "NUL.txt", "x" * 1000, "ä" * 200, "trail. ", "  ", "a\udcffb", "~",
    ],
)  # fmt: skip
def test_names_are_safe(tmp_path, name):
    safe = safe_name(name)
    path = tmp_path / f"{safe}.ply"
    assert safe == safe_name(safe)  # once is enough
    assert path.resolve().parent == tmp_path.resolve()
    assert not safe.startswith(".")
    path.write_bytes(b"")
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_ordinary_names_stay():
    for name in ("chair_0001", "1a04e3eab45ca15dd86060f189eb133", "Stuhl Nr. 5", "a.b-c+d", "ä"):
        assert safe_name(name) == name


def test_names_that_fall_together_are_told_apart(tmp_path):
    both = safe_names(("a/b", "a_b", "c", "Chair", "chair"))
    assert both[2] == "c"
    assert len({name.casefold() for name in both}) == 5
    first = free_path(tmp_path, "a/b", ".ply")
    first.write_bytes(b"")
    second = free_path(tmp_path, "a_b", ".ply")
    assert first != second
    assert safe_name("x" * 1000) != safe_name("x" * 1001)
