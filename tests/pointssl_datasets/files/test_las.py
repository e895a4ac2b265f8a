"""Laser scans: scale and offset, colours, classification, and damage."""

import laspy
import numpy as np
import pytest
from cloud_files import damaged, said_of

from pointssl_datasets.base.errors import DataError
from pointssl_datasets.files import las
from pointssl_datasets.files.readers import read_cloud

UTM = np.array([691_200.0, 5_334_000.0, 512.0])


def write_las(path, xyz, *, version="1.4", point_format=7, scale=0.001, colours=None, label=None):
    header = laspy.LasHeader(version=version, point_format=point_format)
    header.scales, header.offsets = np.full(3, scale), np.floor(xyz.min(axis=0))
    scan = laspy.LasData(header)
    scan.x, scan.y, scan.z = xyz.T
    if colours is not None:
        scan.red, scan.green, scan.blue = colours.T
    if label is not None:
        scan.classification = label
    scan.write(path)
    return path


def scene(count=500, size=40.0):
    return np.round(np.random.default_rng(0).uniform(0, size, (count, 3)), 3)


@pytest.mark.parametrize(("version", "point_format"), [("1.2", 2), ("1.2", 3), ("1.4", 7)])
def test_coordinates_keep_their_millimetres(tmp_path, version, point_format):
    xyz = scene()
    path = write_las(tmp_path / "a.las", xyz + UTM, version=version, point_format=point_format)
    read = read_cloud(path)["xyz"]
    assert read.dtype == np.float32
    expected = xyz - np.floor(xyz.min(axis=0))
    np.testing.assert_allclose(read, expected, atol=5e-6)
    naive = (xyz + UTM).astype(np.float32) - UTM.astype(np.float32)
    assert np.abs(naive - xyz).max() > 0.05  # what we would have had


def test_a_cloud_near_its_origin_stays_where_it_is(tmp_path):
    xyz = scene() - 20
    np.testing.assert_allclose(
        read_cloud(write_las(tmp_path / "a.las", xyz))["xyz"], xyz, atol=5e-6
    )


def test_colours_of_16_and_of_8_bits_and_classes(tmp_path):
    rng = np.random.default_rng(1)
    for bits in (8, 16):
        colours = rng.integers(0, 1 << bits, (500, 3))
        colours[0] = (1 << bits) - 1
        label = rng.integers(0, 20, 500)
        path = write_las(tmp_path / f"{bits}.las", scene(), colours=colours, label=label)
        cloud = read_cloud(path)
        np.testing.assert_allclose(cloud["colours"], colours / ((1 << bits) - 1), atol=1e-6)
        np.testing.assert_array_equal(cloud["part"], label)
    plain = read_cloud(write_las(tmp_path / "plain.las", scene(), point_format=6))
    assert "colours" not in plain


def test_chunks_make_no_difference(tmp_path, monkeypatch):
    colours = np.random.default_rng(1).integers(0, 65536, (500, 3))
    path = write_las(tmp_path / "a.las", scene() + UTM, colours=colours, label=np.arange(500) % 7)
    whole = read_cloud(path)
    monkeypatch.setattr(las, "_CHUNK", 64)
    for name, values in read_cloud(path).items():
        np.testing.assert_array_equal(values, whole[name])


def test_compressed_says_what_to_do(tmp_path):
    path = tmp_path / "a.laz"
    path.write_bytes(write_las(tmp_path / "a.las", scene()).read_bytes())
    if laspy.LazBackend.detect_available():
        pytest.skip("a decoder of LAZ is installed")
    with pytest.raises(DataError, match=r"a\.laz: compressed LAS\. Install .* lazrs"):
        read_cloud(path)


def test_damage(tmp_path):
    good = write_las(tmp_path / "a.las", scene()).read_bytes()
    path = tmp_path / "b.las"
    for data, said in [
        (b"LASF", "not a LAS file"),
        (b"PK" + good[2:], "not a LAS file"),
        (good[:24] + b"\x09\x09" + good[26:], "cannot be read as LAS"),
        (good[:100] + b"\xff" * 4 + good[104:], "4294967295 records"),
        (good[:-50], "truncated: 500 points declared, 498 in"),
        (good[:107] + b"\xff" * 4 + good[111:247] + b"\xff" * 7 + b"\0" + good[255:], "declared"),
        (good[:131] + np.array([np.nan]).tobytes() + good[139:], "damaged header"),
    ]:
        path.write_bytes(data)
        with pytest.raises(DataError, match=said) as caught:
            read_cloud(path)
        assert "\n" not in str(caught.value)
    for broken in damaged(good, 200, reach=400, cut=False):
        path.write_bytes(broken)
        assert "\n" not in said_of(read_cloud, path)
