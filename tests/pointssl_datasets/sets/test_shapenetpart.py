"""ShapeNetPart: three layouts of the same shapes and parts."""

import shutil

import h5py
import layouts
import numpy as np
import pytest
from shared import SHARED, needs_shared

from pointssl_datasets.base.errors import DataError
from pointssl_datasets.sets.shapenetpart import SYNSETS, open_shapenetpart
from pointssl_datasets.sets.shapes import CATEGORIES, CLASSES, PARTS

SAMPLE = SHARED / "data/shapenetpart_sample"


@pytest.fixture
def three(tmp_path):
    """The same shapes in every layout."""
    return (
        layouts.write_shapenetpart_hdf5(tmp_path / "hdf5"),
        layouts.write_shapenetpart_text(tmp_path / "v0"),
        layouts.write_shapenetpart_text(tmp_path / "v0_normal", normal=True),
    )


def by_label(source):
    """Of the first shape of each category."""
    return {cloud["label"]: cloud for cloud in reversed(list(source.clouds()))}


@pytest.mark.parametrize("split", ["train", "val", "test", "trainval"])
def test_three_layouts_tell_the_same(three, split):
    sources = [open_shapenetpart(root, split) for root in three]
    count = 32 if split == "trainval" else 16
    assert [s.count for s in sources] == [count] * 3
    assert not any(s.notes for s in sources)
    for source in sources:
        assert (source.classes, source.parts) == (CLASSES, PARTS)
    hdf5, plain, normal = map(by_label, sources)
    assert sorted(hdf5) == list(range(16))
    for label in hdf5:
        np.testing.assert_array_equal(hdf5[label]["part"], plain[label]["part"])
        np.testing.assert_array_equal(hdf5[label]["part"], normal[label]["part"])
        np.testing.assert_allclose(hdf5[label]["xyz"], plain[label]["xyz"], atol=6e-6)
        np.testing.assert_allclose(hdf5[label]["xyz"], normal[label]["xyz"], atol=6e-7)
    assert "normals" in normal[0]
    assert "normals" not in plain[0]


def test_names_and_order_are_those_of_the_lists(three):
    hdf5, plain, _ = three
    assert open_shapenetpart(hdf5, "train").names[7:9] == [
        "ply_data_train0/00007", "ply_data_train1/00000",
    ]  # fmt: skip
    assert open_shapenetpart(plain, "val").names[:2] == ["04379243/val1", "04225987/val1"]
    both = open_shapenetpart(plain, "trainval").names
    assert both == (open_shapenetpart(plain, "train").names + open_shapenetpart(plain, "val").names)


def test_synsets_and_part_numbers_are_the_official_ones():
    """PointNet's ``overallid_to_catid_partid.json``, as far as it decides all the rest."""
    official = {"02691156": 0, "02773838": 4, "02954340": 6, "02958343": 8, "03001627": 12,
                "03261776": 16, "03467517": 19, "03624134": 22, "03636649": 24, "03642806": 28,
                "03790512": 30, "03797390": 36, "03948459": 38, "04099429": 41, "04225987": 44,
                "04379243": 47}  # fmt: skip
    assert {s: c.first for s, c in zip(SYNSETS, CATEGORIES.values(), strict=True)} == official
    assert len(PARTS) == 50


def test_a_folder_with_two_layouts_asks_which(three):
    with pytest.raises(DataError, match="contains several: hdf5, v0, v0_normal"):
        open_shapenetpart(three[0].parent, "train")


def test_modelnet_is_not_taken_for_it(tmp_path):
    layouts.write_modelnet_hdf5(tmp_path / "modelnet40_ply_hdf5_2048")
    layouts.write_s3dis_blocks(tmp_path / "indoor3d_sem_seg_hdf5_data")
    layouts.write_shapenet_render(tmp_path / "crosspoint")
    with pytest.raises(DataError, match="shapenetpart: not found in"):
        open_shapenetpart(tmp_path, "train")
    layouts.write_shapenetpart_hdf5(tmp_path / "hdf5_data")
    assert open_shapenetpart(tmp_path, "train").count == 16


def test_hdf5_without_lists(tmp_path):
    root = layouts.write_shapenetpart_hdf5(tmp_path, lists=False, splits=("train", "test"))
    source = open_shapenetpart(root, "train")
    assert source.count == 16
    assert "took 2 files by their names" in source.notes[0]
    for split in ("val", "trainval"):  # train alone under that name would compare with nothing
        with pytest.raises(DataError, match="no files of the split 'val'"):
            open_shapenetpart(root, split)


@pytest.mark.parametrize("normal", [False, True])
def test_text_without_lists_is_all_for_training(tmp_path, normal):
    root = layouts.write_shapenetpart_text(tmp_path, lists=False, normal=normal)
    for split in ("train", "trainval"):
        source = open_shapenetpart(root, split)
        assert source.count == 48
        assert "has no train_test_split: all its 48 shapes are train" in source.notes[0]
    for split in ("val", "test"):
        with pytest.raises(DataError, match=f"no train_test_split/shuffled_{split}_file_list.json"):
            open_shapenetpart(root, split)


def lists(root, text):
    (root / "train_test_split/shuffled_train_file_list.json").write_text(text)


WRONG_LISTS = {
    "no json": ("<html>", "cannot be read as a list of shapes"),
    "deep": ("[" * 100_000, "cannot be read as a list of shapes"),
    "no list": ('{"a": 1}', "expected a list"),
    "numbers": ("[1, 2]", "found 1"),
    "out of the folder": ('["shape_data/../../secret"]', "found 'shape_data/../../secret'"),
    "twice": ('["a/02691156/train0", "b/02691156/train0"]', "lists 02691156/train0 twice"),
    "missing": ('["a/02691156/gone"]', "1 of the 1 files that it lists are missing: gone.pts"),
}


@pytest.mark.parametrize("case", WRONG_LISTS)
def test_wrong_lists(three, case):
    text, said = WRONG_LISTS[case]
    lists(three[1], text)
    with pytest.raises(DataError, match=said) as caught:
        open_shapenetpart(three[1], "train")
    assert "\n" not in str(caught.value)


def test_missing_part_labels(three):
    (three[1] / "02691156/points_label/train0.seg").unlink()
    with pytest.raises(DataError, match=r"missing: train0.seg"):
        open_shapenetpart(three[1], "train")


def edit(path, line, text):
    lines = path.read_text().splitlines()
    lines[line : line + 1] = [text] if text is not None else []
    path.write_text("\n".join(lines) + "\n")


DAMAGE = {
    "another category's part": (2, "02691156/train0.txt", "1 2 3 1 0 0 4", "airplane parts are "
                                "not from 0 to 3: 4"),
    "half a part": (2, "02691156/train0.txt", "1 2 3 1 0 0 1.5", "from 0 to 3: 1.5"),
    "nan part": (2, "02691156/train0.txt", "1 2 3 1 0 0 nan", "from 0 to 3: nan"),
    "no normal": (2, "02691156/train0.txt", "1 2 3 1 1 0 1", "normals are not of unit length"),
    "part 0": (1, "02691156/points_label/train0.seg", "0", "are not from 1 to 4: 0"),
    "part 5": (1, "02691156/points_label/train0.seg", "5", "are not from 1 to 4: 5"),
    "one less": (1, "02691156/points_label/train0.seg", None, "23 part labels for 24 points"),
    "one point less": (1, "02691156/points/train0.pts", None, "24 part labels for 23 points"),
}  # fmt: skip


@pytest.mark.parametrize("case", DAMAGE)
def test_damage_is_said_when_the_shape_is_read(three, case):
    which, file, text, said = DAMAGE[case]
    edit(three[which] / file, 3, text)
    source = open_shapenetpart(three[which], "train")
    source.read(0)
    with pytest.raises(DataError, match=f"train0.*{said}"):
        source.read(source.names.index("02691156/train0"))


def test_parts_of_another_category_in_hdf5(three):
    """Unsigned numbers below the category's first part must not wrap around to large ones."""
    with h5py.File(three[0] / "ply_data_train0.h5", "a") as file:
        assert file["label"][2, 0] == 4  # a chair, whose parts are 12 to 15
        file["pid"][2, 5:8] = [0, 16, 3]
    source = open_shapenetpart(three[0], "train")
    source.read(1)
    with pytest.raises(
        DataError, match=r"row 2: 3 of 24 chair parts are not from 12 to 15: 0, ..."
    ):
        source.read(2)


@needs_shared
def test_real_shapes_in_two_layouts():
    """One shape of each category: the same parts in about the same share, y-up."""
    with pytest.raises(DataError, match="contains several"):
        open_shapenetpart(SAMPLE, "train")
    hdf5 = open_shapenetpart(SAMPLE / "shapenet_part_seg_hdf5_data", "train")
    plain = open_shapenetpart(SAMPLE / "shapenetcore_partanno_segmentation_benchmark_v0", "train")
    assert hdf5.count == plain.count == 16
    one, other = by_label(hdf5), by_label(plain)
    for label in range(16):
        assert set(one[label]["part"]) == set(other[label]["part"])
        share = [np.bincount(c["part"], minlength=50) / len(c["part"]) for c in (one[label],
                 other[label])]  # fmt: skip
        np.testing.assert_allclose(*share, atol=0.02)
        # The HDF5 files hold the same points, centred, scaled and thinned out.
        sizes = [np.ptp(c["xyz"], axis=0) for c in (one[label], other[label])]
        ratio = sizes[0] / sizes[1]
        np.testing.assert_allclose(ratio, ratio.mean(), rtol=0.03)


@needs_shared
def test_real_shapes_stand_on_their_feet():
    """Which part is above which: tells the axis, and that parts have their right names."""
    plain = open_shapenetpart(SAMPLE / "shapenetcore_partanno_segmentation_benchmark_v0", "train")
    clouds = by_label(plain)

    def height(name):
        cloud = clouds[CLASSES.index(name.split("/")[0])]
        return cloud["xyz"][cloud["part"] == PARTS.index(name), 1].mean()

    above = [("chair/back", "chair/seat"), ("chair/seat", "chair/leg"),
             ("table/top", "table/leg"), ("car/roof", "car/wheel"),
             ("skateboard/deck", "skateboard/wheel"), ("guitar/head", "guitar/neck"),
             ("guitar/neck", "guitar/body"), ("laptop/screen", "laptop/keyboard"),
             ("motorbike/handle", "motorbike/wheel"), ("cap/crown", "cap/peak")]  # fmt: skip
    assert all(height(upper) > height(lower) for upper, lower in above)


@needs_shared
def test_a_real_file_cut_short(tmp_path):
    root = tmp_path / "v0"
    shutil.copytree(SAMPLE / "shapenetcore_partanno_segmentation_benchmark_v0", root)
    path = next((root / "03001627/points").iterdir())
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    source = open_shapenetpart(root, "train")
    index = next(i for i, name in enumerate(source.names) if name.startswith("03001627"))
    with pytest.raises(DataError, match=path.name):
        source.read(index)
    assert source.read(index - 1)["label"] == 3
