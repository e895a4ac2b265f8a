"""ModelNet40 with normals: text files, listed by name."""

import layouts
import numpy as np
import pytest

from pointssl_datasets.base.errors import DataError
from pointssl_datasets.sets.modelnet40_normal import open_modelnet40_normal


@pytest.fixture
def root(tmp_path):
    return layouts.write_modelnet_normal(tmp_path / "modelnet40_normal_resampled")


def test_reads_points_normals_and_classes(root):
    source = open_modelnet40_normal(root, "test")
    assert source.names == ["bed/bed_0002", "chair/chair_0002", "night_stand/night_stand_0002"]
    assert source.classes == layouts.KINDS
    assert [source.read(i)["label"] for i in range(3)] == [0, 1, 2]  # class names have underscores
    cloud = source.read(2)
    table = np.loadtxt(root / "night_stand/night_stand_0002.txt", delimiter=",")
    np.testing.assert_array_equal(cloud["xyz"], table[:, :3].astype(np.float32))
    np.testing.assert_allclose(cloud["normals"], table[:, 3:], atol=2e-6)
    assert "3 classes, the original 40" in source.notes[0]


def test_missing_shapes_are_counted_and_five_named(root):
    listing = root / "modelnet40_train.txt"
    listing.write_text(listing.read_text() + "".join(f"bed_9{i:03d}\n" for i in range(7)))
    with pytest.raises(DataError, match="7 of the 10 files that it lists are missing") as caught:
        open_modelnet40_normal(root, "train")
    assert "bed_9000.txt, bed_9001.txt" in str(caught.value)
    assert "bed_9004.txt and 2 more. Complete the download." in str(caught.value)


def test_the_pickles_of_other_projects_are_not_taken_for_the_data(root):
    for path in root.glob("*/*.txt"):
        path.unlink()
    (root / "modelnet40_train_8192pts_fps.dat").write_bytes(b"\x80\x04K\x01.")
    with pytest.raises(DataError, match=r"The .dat files beside it are pickles, which are never"):
        open_modelnet40_normal(root, "train")


def test_no_list_leads_out_of_the_folder(root):
    secret = root.parent / "bed_0099.txt"
    secret.write_text((root / "bed/bed_0001.txt").read_text())
    (root / "modelnet40_train.txt").write_text("../bed_0099\n")
    with pytest.raises(DataError, match=r"1 of the 1 files .* missing: bed_0099.txt"):
        open_modelnet40_normal(root, "train")


def test_a_shape_that_is_listed_twice(root):
    (root / "modelnet40_train.txt").write_text("bed_0001\nchair_0001\nbed_0001\n")
    with pytest.raises(DataError, match="lists bed/bed_0001 twice"):
        open_modelnet40_normal(root, "train")


def rewrite(path, change):
    lines = path.read_text().splitlines()
    path.write_text("\n".join(change(lines)) + "\n")


BAD = {
    "cut at a line": (lambda lines: lines[:7000], "7000 points, but every shape has 10000"),
    "cut in a line": (lambda lines: [*lines[:7000], lines[7000][:20]], "line 7001 has"),
    "nan": (lambda lines: ["nan" + lines[0][lines[0].index(",") :], *lines[1:]], "1 of 10000 poin"),
    "words": (lambda lines: ["<html>,1,2,3,4,5", *lines[1:]], "line 1 is not numbers: '<html>"),
    "no normals": (lambda lines: [",".join(x.split(",")[:3]) for x in lines], "found 3 columns"),
    "normals": (lambda lines: [",".join(x.split(",")[:3] * 2) for x in lines], "not of unit len"),
}


@pytest.mark.parametrize("case", BAD)
def test_damage_is_said_when_the_shape_is_read(root, case):
    change, said = BAD[case]
    rewrite(root / "chair/chair_0001.txt", change)
    source = open_modelnet40_normal(root, "train")
    source.read(0)
    with pytest.raises(DataError, match=f"chair_0001.txt: .*{said}"):
        source.read(1)


def test_a_class_that_is_not_listed(root):
    (root / "modelnet40_shape_names.txt").write_text("bed\nchair\n")
    source = open_modelnet40_normal(root, "train")
    source.read(1)
    with pytest.raises(DataError, match="'night_stand' is not one of the 2 classes"):
        source.read(2)
