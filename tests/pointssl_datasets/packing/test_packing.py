"""The cache of packed clouds and images: right, atomic, shared by processes."""

import numpy as np
import pytest
from cloud_files import random_cloud, random_normals
from packing_sources import files_under, make_clouds, make_source, packed

from pointssl_datasets.base.axes import TO_Y_UP
from pointssl_datasets.base.errors import DataError, UsageError
from pointssl_datasets.base.source import Cloud
from pointssl_datasets.checking.clouds import AuditState, audit_split
from pointssl_datasets.checking.findings import Findings
from pointssl_datasets.packing.arrays import read_array, read_meta, read_names, read_paths
from pointssl_datasets.packing.npy_stream import NpyStream
from pointssl_datasets.packing.pack import prepare


def test_packs_clouds_of_different_sizes(tmp_path):
    clouds = make_clouds()
    for i, cloud in enumerate(clouds):
        cloud["normals"] = random_normals(len(cloud["xyz"]), i)
        cloud["part"] = np.arange(len(cloud["xyz"])) % (i + 2)
        cloud["images"] = [tmp_path / f"{i}.png"]
    folder = packed(tmp_path, clouds)
    offsets = read_array(folder, "offsets")
    assert offsets.tolist() == [0, 20, 50, 75]
    for i, cloud in enumerate(clouds):
        rows = slice(offsets[i], offsets[i + 1])
        for name in ("xyz", "normals", "part"):
            np.testing.assert_array_equal(read_array(folder, name)[rows], cloud[name])
    assert read_array(folder, "label").tolist() == [0, 1, 0]
    meta = read_meta(folder)
    assert meta["parts"] == ["part 0", "part 1", "part 2", "part 3"]
    assert (list(read_names(folder)), meta["classes"]) == (["c0", "c1", "c2"], ["a", "b"])
    assert list(read_paths(folder, "images")) == [[tmp_path / f"{i}.png"] for i in range(3)]
    assert list(read_paths(folder, "mesh")) == [[], [], []]


def test_streamed_npy_is_what_numpy_saves(tmp_path):
    rows = random_cloud(77)
    for dtype, shape, data in (
        ("<f4", (3,), rows),
        ("<i8", (), np.arange(5)),
        ("u1", (2, 2), None),
    ):
        with NpyStream(tmp_path / "a.npy", dtype, shape) as stream:
            for start in range(0, 0 if data is None else len(data), 10):
                stream.append(data[start : start + 10])
        read = np.load(tmp_path / "a.npy")
        expected = np.empty((0, *shape), dtype) if data is None else data.astype(dtype)
        assert read.dtype == np.dtype(dtype)
        np.testing.assert_array_equal(read, expected)
    with (
        pytest.raises(ValueError, match="rows of shape"),
        NpyStream(tmp_path / "a.npy", "<f4", (3,)) as stream,
    ):
        stream.append(np.ones((4, 2)))


@pytest.mark.parametrize("axis", "xyz")
def test_up_axis_conversion_is_a_rotation_that_puts_up_on_y(axis):
    matrix = TO_Y_UP[axis]
    np.testing.assert_array_equal(matrix @ matrix.T, np.eye(3))
    assert np.linalg.det(matrix) == 1
    np.testing.assert_array_equal(matrix @ np.eye(3)["xyz".index(axis)], [0, 1, 0])


def test_packing_turns_points_and_normals_alike(tmp_path):
    """An offset along its normal lies on the same side before and after the turn."""
    clouds = make_clouds(normals=random_normals(20), sizes=(20,))
    turned = packed(tmp_path, clouds, up_axis="z")
    xyz, normals = read_array(turned, "xyz"), read_array(turned, "normals")
    np.testing.assert_array_equal(xyz[:, 1], clouds[0]["xyz"][:, 2])
    before = np.einsum("nc,mc->nm", clouds[0]["xyz"], clouds[0]["normals"])
    np.testing.assert_allclose(np.einsum("nc,mc->nm", xyz, normals), before, atol=1e-6)


def test_unit_sphere_is_the_obvious_loop(tmp_path):
    clouds = make_clouds()
    clouds[1]["xyz"] = clouds[1]["xyz"] * 300 + 5000
    folder = packed(tmp_path, clouds, "unit-sphere")
    offsets, xyz = read_array(folder, "offsets"), read_array(folder, "xyz")
    for i, cloud in enumerate(clouds):
        points = cloud["xyz"].astype(float).tolist()
        mean = [sum(p[axis] for p in points) / len(points) for axis in range(3)]
        centred = [[p[axis] - mean[axis] for axis in range(3)] for p in points]
        radius = max(sum(x * x for x in p) ** 0.5 for p in centred)
        expected = [[x / radius for x in p] for p in centred]
        np.testing.assert_allclose(xyz[offsets[i] : offsets[i + 1]], expected, atol=1e-6)


def test_fingerprint_is_the_content_not_the_place(tmp_path):
    def fingerprint(cache, clouds, **options):
        return read_meta(packed(tmp_path / cache, clouds, **options))["fingerprint"]

    same = fingerprint("a", make_clouds())
    assert fingerprint("b", make_clouds(), key="another place") == same
    moved = make_clouds()
    moved[2]["xyz"][3, 1] += 1e-6
    relabelled = make_clouds()
    relabelled[0]["label"] = 1
    for i, clouds in enumerate([moved, relabelled, make_clouds()[::-1], make_clouds()[:2]]):
        assert fingerprint(f"c{i}", clouds) != same
    assert fingerprint("d", make_clouds(), up_axis="z") != same
    assert fingerprint("e", make_clouds(), normalise="unit-sphere") != same


def test_packed_once_and_again_when_the_key_changes(tmp_path):
    calls, clouds = [], make_clouds()

    def read(index):
        calls.append(index)
        return Cloud(**clouds[index])

    folders = [packed(tmp_path, clouds, key=key, read=read) for key in "aab"]
    assert folders[0] == folders[1] != folders[2]
    assert calls == [0, 1, 2] * 2
    packed(tmp_path, clouds, "unit-sphere", key="a", read=read)
    packed(tmp_path, clouds, key="a", up_axis="z", read=read)
    assert calls == [0, 1, 2] * 4


BAD = {
    "empty": ([], {}, "the split 'train' is empty"),
    "nan": ([Cloud(name="n", xyz=np.full((5, 3), np.nan), label=0)], {}, "mine: n: 5 of 5 points"),
    "label": (make_clouds(), {"classes": ("a",)}, "c1: label 1 is not one of 1 classes"),
    "unlabelled": ([Cloud(name="n", xyz=random_cloud())], {}, "label -1"),
    "names": (make_clouds() + make_clouds(), {}, "have the same name"),
    "normals": (make_clouds(normals=random_normals(20)), {}, r"c1: normals \(20, 3\), points"),
    "part": (make_clouds(sizes=(20,), part=np.arange(20)), {"parts": ("p",)}, "0 to 0.* 0 to 19"),
    "part shape": (make_clouds(part=np.arange(20)), {}, r"c1: part must be 30 numbers"),
    "colours": (make_clouds((20,), colours=np.full((20, 3), 2.0)), {}, "numbers from 0 to 1"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_clouds_leave_nothing_behind(tmp_path, case):
    clouds, options, said = BAD[case]
    with pytest.raises(DataError, match=said):
        packed(tmp_path, clouds, **options)
    assert not [name for name in files_under(tmp_path) if not name.endswith(".lock")]
    assert not list(tmp_path.rglob("*.tmp-*"))


def test_options_are_checked(tmp_path):
    with pytest.raises(UsageError, match="--normalise 'box': choose"):
        packed(tmp_path, make_clouds(), "box")
    with pytest.raises(UsageError, match="--up-axis 'w': choose"):
        packed(tmp_path, make_clouds(), up_axis="w")


def test_a_source_that_cannot_be_read_is_not_blamed_on_the_cache(tmp_path):
    def read(index):
        return (tmp_path / "gone.npy").read_bytes()

    with pytest.raises(DataError, match=r"mine: cannot read .*gone\.npy: No such file"):
        packed(tmp_path, make_clouds(), read=read)


def test_a_field_that_not_all_clouds_have_is_left_out_with_a_note(tmp_path):
    clouds = make_clouds((20, 20, 20), normals=random_normals(20))
    del clouds[1]["normals"]
    clouds[2]["colours"] = np.ones((20, 3), np.float32)
    folder = packed(tmp_path, clouds)
    assert sorted(path.name for path in folder.glob("*.npy") if "." not in path.stem) == [
        "label.npy",
        "offsets.npy",
        "xyz.npy",
    ]
    assert read_meta(folder)["notes"] == [
        "normals left out: c0 has them, c1 has not",
        "colours left out: c2 has them, c0 has not",
    ]
    bare = [{k: v for k, v in c.items() if k not in ("normals", "colours")} for c in clouds]
    same = read_meta(packed(tmp_path / "bare", bare))["fingerprint"]
    assert read_meta(folder)["fingerprint"] == same


def test_a_damaged_cache_says_so(tmp_path):
    folder = packed(tmp_path, make_clouds())
    (folder / "xyz.npy").write_bytes((folder / "xyz.npy").read_bytes()[:-100])
    with pytest.raises(DataError, match="damaged cache; delete this folder"):
        read_array(folder, "xyz")
    (folder / "meta.json").unlink()
    with pytest.raises(DataError, match="damaged cache; delete this folder"):
        read_meta(folder)


def test_other_classes_or_parts_are_other_data(tmp_path):
    clouds = make_clouds((20, 20), part=np.zeros(20, int))
    folders = {
        packed(tmp_path, clouds, classes=classes, parts=parts)
        for classes in (("a", "b"), ("b", "a"))
        for parts in (("p",), ("q",))
    }
    assert len(folders) == 4


def test_a_bad_cloud_says_once_how_to_find_all_of_them():
    bad = make_source([Cloud(name="n", xyz=np.full((5, 3), np.nan), label=0)])
    again = make_source([Cloud(name="n")], read=lambda index: prepare(bad, index, "none"))
    for source in (bad, again):  # a conversion prepares its clouds and packs them
        with pytest.raises(DataError) as caught:
            prepare(source, 0, "none")
        assert str(caught.value).count("`pointssl data check --fix` lists all such clouds") == 1


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("colours", np.full((20, 3), 1.5)),
        ("colours", np.full((20, 2), 0.5)),
        ("normals", np.full((20, 3), np.nan)),
        ("part", np.full(20, -1)),
        ("label", 7),
    ],
)
def test_what_packing_refuses_checking_finds(tmp_path, field, values):
    clouds = make_clouds((20, 20))
    clouds[1][field] = values
    with pytest.raises(DataError, match="c1"):
        packed(tmp_path, clouds)
    findings = Findings("mine")
    audit_split(make_source(clouds), findings, AuditState(), points=10)
    assert [(skip.name, skip.why.partition(":")[0]) for skip in findings.skips] == [("c1", field)]
