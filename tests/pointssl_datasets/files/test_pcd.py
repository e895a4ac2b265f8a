"""PCD files of every encoding, as PCL writes them and as they arrive."""

import numpy as np
import pytest
from cloud_files import damaged, lzf_compress, pcd_bytes, random_cloud, random_normals, said_of

from pointssl_datasets.base.errors import DataError
from pointssl_datasets.files.pcd import lzf_decompress
from pointssl_datasets.files.readers import read_cloud

DATA = ["ascii", "binary", "binary_compressed"]
COLOURS = np.random.default_rng(3).integers(0, 256, (50, 3))


def packed():
    return (COLOURS @ [1 << 16, 1 << 8, 1]).astype(np.uint32)


def columns(xyz, dtype=np.float32):
    return dict(zip("xyz", xyz.astype(dtype).T, strict=True))


def written(path, *arguments, **options):
    path.write_bytes(pcd_bytes(*arguments, **options))
    return path


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("rgb", [np.uint32, np.float32])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_encoding_agrees_with_what_was_written(tmp_path, data, rgb, dtype):
    xyz, normals = random_cloud(), random_normals()
    # A float of those bits; exponents of all ones would be NaN, which text can't carry.
    colour = packed() & 0x7FFFFF if rgb == np.float32 else packed()
    fields = {
        "label": np.arange(50, dtype=np.uint16),
        "histogram": np.arange(250, dtype=np.int16).reshape(50, 5),  # of COUNT 5, in between
        **columns(xyz, dtype),
        "_": np.zeros((50, 4), dtype=np.uint8),  # padding
        **dict(zip(("normal_x", "normal_y", "normal_z"), normals.T, strict=True)),
        "rgb": colour.view(rgb),
    }
    cloud = read_cloud(written(tmp_path / "a.pcd", fields, data))
    np.testing.assert_array_equal(cloud["xyz"], xyz)
    np.testing.assert_allclose(cloud["normals"], normals, atol=1e-6)
    np.testing.assert_array_equal(cloud["part"], np.arange(50))
    expected = np.stack([colour >> 16 & 255, colour >> 8 & 255, colour & 255], axis=1) / 255
    np.testing.assert_allclose(cloud["colours"], expected, atol=1e-6)


@pytest.mark.parametrize("data", DATA)
def test_an_organised_cloud_loses_the_pixels_that_saw_nothing(tmp_path, data):
    xyz = random_cloud()
    xyz[[3, 20, 21]] = np.nan
    fields = columns(xyz) | {"rgba": packed()}
    cloud = read_cloud(written(tmp_path / "a.pcd", fields, data, height=5))
    np.testing.assert_array_equal(cloud["xyz"], np.delete(xyz, [3, 20, 21], axis=0))
    kept = np.delete(COLOURS, [3, 20, 21], axis=0) / 255
    np.testing.assert_allclose(cloud["colours"], kept, atol=1e-6)
    with pytest.raises(DataError, match="3 of 50 points are NaN"):  # nobody says why they are
        read_cloud(written(tmp_path / "b.pcd", fields, data, height=1))


def test_double_coordinates_far_away_keep_their_precision(tmp_path):
    xyz = random_cloud().astype(np.float64)
    far = xyz + np.array([500_000, 5_400_000, 300])
    cloud = read_cloud(written(tmp_path / "a.pcd", columns(far, np.float64)))
    moved = cloud["xyz"] - cloud["xyz"][0]
    np.testing.assert_allclose(moved, xyz - xyz[0], atol=1e-6)


def slow_lzf(data):
    """A byte at a time."""
    out, at = [], 0
    while at < len(data):
        control = data[at]
        at += 1
        if control < 32:
            for _ in range(control + 1):
                out.append(data[at])
                at += 1
            continue
        length = control >> 5
        if length == 7:
            length += data[at]
            at += 1
        back = (control & 31) * 256 + data[at] + 1
        at += 1
        for _ in range(length + 2):
            out.append(out[-back])
    return bytes(out)


@pytest.mark.parametrize("seed", range(8))
def test_lzf_round_trip(seed):
    rng = np.random.default_rng(seed)
    raw = rng.integers(0, 2 + seed**3, 3000, dtype=np.int64).astype(np.uint8).tobytes()
    raw += b"abc" * 500 + b"x" * 900 + raw[:700]
    squeezed = lzf_compress(raw)
    assert len(squeezed) < len(raw)
    assert lzf_decompress(squeezed, len(raw)) == slow_lzf(squeezed) == raw


BAD_LZF = [
    (bytes([0, 65, 0b00100000, 5]), 5, "before its beginning"),
    (bytes([31, 1, 2]), 32, "in the middle"),
    (bytes([0, 65, 0b11100000]), 12, "in the middle"),
    (bytes([0, 65]), 2, "1 bytes result, 2 are"),
    (bytes([0, 65, 0b11100000, 255, 0]), 4, "265 bytes result, 4"),
]


@pytest.mark.parametrize(("data", "size", "said"), BAD_LZF)
def test_damaged_lzf(data, size, said):
    with pytest.raises(ValueError, match=said):
        lzf_decompress(data, size)


GOOD = {data: pcd_bytes(columns(random_cloud()), data) for data in DATA}
BAD = [
    (b"not a cloud", "no DATA line"),
    (GOOD["binary"][:60], "no DATA line"),
    (GOOD["binary"][:-13], "50 points declared, 48 in"),
    (GOOD["ascii"][: GOOD["ascii"].rindex(b"\n", 0, -1) + 1], "50 points declared, 49 in"),
    (GOOD["ascii"].replace(b"\n0", b"\nzero", 1).replace(b"\n-", b"\nminus", 1), "damaged points"),
    (GOOD["binary_compressed"][:-1], "bytes declared"),
    (GOOD["binary"].replace(b"FIELDS x y z", b"FIELDS x y w"), "no fields z; found x y w"),
    (GOOD["binary"].replace(b"SIZE 4 4 4", b"SIZE 4 4"), "invalid PCD header"),
    (GOOD["binary"].replace(b"SIZE 4 4 4", b"SIZE 4 4 3"), "do not match"),
    (GOOD["binary"].replace(b"COUNT 1 1 1", b"COUNT 1 1 9999999"), "a point of"),
    (GOOD["binary"].replace(b"COUNT 1 1 1", b"COUNT 1 1 -1"), "header"),
    (GOOD["binary"].replace(b"WIDTH 50", b"WIDTH 51"), "50 POINTS, but 51 x 1"),
    (GOOD["binary"].replace(b"WIDTH 50", b"WIDTH -50").replace(b"S 50", b"S -50"), "-50 POINTS"),
    (GOOD["binary"].replace(b"WIDTH 50", b"WIDTH ?"), "invalid PCD header"),
    (GOOD["binary"].replace(b"DATA binary", b"DATA zipped"), "DATA 'zipped'"),
    (GOOD["binary"].replace(b" 50", b" 1000000000000"), "1000000000000 points declared"),
    (GOOD["ascii"].replace(b" 50", b" 1000000000000"), "1000000000000 points declared"),
    (GOOD["binary_compressed"].replace(b" 50", b" 1000000000000"), "cannot contain"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "said"), BAD, ids=[said for _, said in BAD])
def test_bad_files_are_named_with_their_problem(tmp_path, data, said):
    path = tmp_path / "a.pcd"
    path.write_bytes(data)
    with pytest.raises(DataError) as caught:
        read_cloud(path)
    assert str(path) in str(caught.value)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_bomb_is_not_unpacked(tmp_path):
    """A gigabyte out of 300 bytes is more than LZF can do: refused before it is tried."""
    points = (1 << 30) // 12
    head = GOOD["binary_compressed"].partition(b"binary_compressed\n")[0]
    head = head.replace(b" 50", f" {points}".encode()) + b"binary_compressed\n"
    body = bytes([0, 65]) + bytes([0b11100000, 255, 0]) * 100
    sizes = np.array([len(body), points * 12], dtype="<u4").tobytes()
    (tmp_path / "a.pcd").write_bytes(head + sizes + body)
    with pytest.raises(DataError, match="cannot contain"):
        read_cloud(tmp_path / "a.pcd")


@pytest.mark.parametrize("data", DATA)
def test_any_damage_is_a_data_error(tmp_path, data):
    path = tmp_path / "a.pcd"
    for broken in damaged(GOOD[data], 300):
        path.write_bytes(broken)
        assert "\n" not in said_of(read_cloud, path)
