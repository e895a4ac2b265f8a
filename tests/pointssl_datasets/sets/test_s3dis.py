"""S3DIS: blocks of rooms in HDF5, and whole rooms."""

import pickle

import h5py
import layouts
import numpy as np
import pytest

from pointssl_datasets.base.errors import DataError
from pointssl_datasets.serving.dataset import load_dataset
from pointssl_datasets.sets.packed import open_packed
from pointssl_datasets.sets.s3dis import CLASSES, PARTS, open_s3dis


@pytest.fixture
def blocks(tmp_path):
    return layouts.write_s3dis_blocks(tmp_path / "indoor3d_sem_seg_hdf5_data")


@pytest.fixture
def rooms(tmp_path):
    return layouts.write_s3dis_rooms(tmp_path / "stanford_indoor3d")


def rows_of(root):
    """Data and labels of all blocks, in one."""
    data, label = [], []
    for number in range(2):
        with h5py.File(root / f"ply_data_all_{number}.h5") as file:
            data.append(file["data"][:])
            label.append(file["label"][:])
    return np.concatenate(data), np.concatenate(label)


def test_area_5_is_held_out(blocks, rooms):
    def areas(root, split):
        return {name.split("_")[1] for name in open_s3dis(root, split).names}

    for root in (blocks, rooms):
        assert areas(root, "train") == {"1", "2", "6"}
        assert areas(root, "test") == {"5"}
        assert areas(root, "area_2") == {"2"}
        with pytest.raises(DataError, match="no clouds of the split 'area_3'"):
            open_s3dis(root, "area_3")


def test_blocks_are_the_rows_of_all_files(blocks):
    data, label = rows_of(blocks)
    source = open_s3dis(blocks, "train")
    lines = (blocks / "room_filelist.txt").read_text().splitlines()
    rows = [row for row, room in enumerate(lines) if not room.startswith("Area_5")]
    assert source.count == len(rows) == 12
    for index, row in enumerate(rows):
        cloud = source.read(index)
        np.testing.assert_array_equal(cloud["xyz"], data[row, :, :3])
        np.testing.assert_array_equal(cloud["colours"], data[row, :, 3:6])
        np.testing.assert_array_equal(cloud["place"], data[row, :, 6:])
        np.testing.assert_array_equal(cloud["part"], label[row])
        assert source.names[index].startswith(f"{lines[row]}/")
        assert CLASSES[cloud["label"]] == lines[row].split("_")[2]
    assert source.names[3:5] == ["Area_1_conferenceRoom_2/00000", "Area_1_conferenceRoom_2/00001"]


def test_the_place_is_served_beside_its_point_and_turned_along(blocks, tmp_path):
    data, _ = rows_of(blocks)
    served = load_dataset(
        "s3dis", blocks, "area_2", points=9, place=True, colours=True, normalise="none",
        cache_dir=tmp_path / "cache",
    )  # fmt: skip
    sample = served[1]
    block = data[7]  # the second of the third room
    for row, place, colour in zip(
        sample["xyz"].numpy(), sample["place"].numpy(), sample["colour"].numpy(), strict=True
    ):
        x, y, z = row[0], -row[2], row[1]  # z-up again
        (found,) = np.flatnonzero((block[:, :3] == (x, y, z)).all(axis=1))
        np.testing.assert_array_equal((place[0], -place[2], place[1]), block[found, 6:])
        np.testing.assert_array_equal(colour, block[found, 3:6])
    plain = load_dataset(
        "s3dis", blocks, "area_2", points=9, normalise="none", cache_dir=tmp_path / "cache"
    )
    assert "place" not in plain[1]
    copied = pickle.loads(pickle.dumps(served))[1]
    assert all((copied[name] == value).all() for name, value in sample.items())
    back = open_packed(served.folder, "area_2").read(1)
    np.testing.assert_array_equal(back["place"], block[:, 6:])
    np.testing.assert_array_equal(back["xyz"], block[:, :3])


def test_places_that_are_not_finite(blocks, tmp_path):
    with h5py.File(blocks / "ply_data_all_0.h5", "r+") as file:
        file["data"][1, 3, 7] = np.nan
    with pytest.raises(DataError, match=r"Area_1_office_1/00001: places must be \(24, 3\) finite"):
        load_dataset("s3dis", blocks, "area_1", points=9, cache_dir=tmp_path / "cache")


def test_rooms_are_arrays(rooms):
    source = open_s3dis(rooms, "area_1")
    assert list(source.names) == ["Area_1_conferenceRoom_2", "Area_1_office_1"]
    stored = np.load(rooms / "Area_1_office_1.npy")
    cloud = source.read(1)
    np.testing.assert_array_equal(cloud["xyz"], stored[:, :3].astype(np.float32))
    np.testing.assert_allclose(cloud["colours"] * 255, stored[:, 3:6], atol=1e-4)
    np.testing.assert_array_equal(cloud["part"], stored[:, 6])
    assert CLASSES[cloud["label"]] == "office"
    assert (len(PARTS), source.up_axis) == (13, "z")


def test_other_arrays_beside_the_rooms_are_none(rooms):
    np.save(rooms / "Area_1_office_1_labels.npy", np.zeros(3))
    assert open_s3dis(rooms, "area_1").count == 2


def test_a_list_of_rooms_that_does_not_fit(blocks):
    listing = blocks / "room_filelist.txt"
    lines = listing.read_text().splitlines()
    listing.write_text("\n".join(lines[:-1]))
    with pytest.raises(DataError, match=r"the rooms of 14 blocks, but the files .* contain 15"):
        open_s3dis(blocks, "train")
    listing.write_text("\n".join(["office_1", *lines[1:]]))
    with pytest.raises(DataError, match="line 1: expected Area_1_office_1, found office_1"):
        open_s3dis(blocks, "train")
    (blocks / "ply_data_all_1.h5").unlink()
    with pytest.raises(DataError, match="1 of the 2 files that it lists are missing"):
        open_s3dis(blocks, "train")


def test_an_unknown_type_of_room_is_its_own_problem(blocks):
    listing = blocks / "room_filelist.txt"
    listing.write_text(listing.read_text().replace("Area_2_WC_1", "Area_2_kitchen_1"))
    source = open_s3dis(blocks, "train")
    source.read(0)
    with pytest.raises(DataError, match="'kitchen' is not one of the 11 types of rooms"):
        source.read(source.names.index("Area_2_kitchen_1/00000"))


BAD_ROOMS = {
    "class": (lambda t: t[:, 6].fill(13), "50 of 50 point labels are not from 0 to 12: 13, ..."),
    "half a class": (lambda t: t[:1, 6].fill(0.5), "1 of 50 point labels .*: 0.5$"),
    "colour": (lambda t: t[:1, 3:6].fill(300), "colours from"),
    "nan": (lambda t: t[:1, :1].fill(np.nan), "1 of 50 points are NaN"),
    "nan colour": (lambda t: t[:1, 3:4].fill(np.nan), "colours from nan"),
}


@pytest.mark.parametrize("case", BAD_ROOMS)
def test_wrong_values_in_a_room(rooms, case):
    spoil, said = BAD_ROOMS[case]
    table = np.load(rooms / "Area_1_office_1.npy")
    spoil(table)
    np.save(rooms / "Area_1_office_1.npy", table)
    source = open_s3dis(rooms, "area_1")
    source.read(0)
    with pytest.raises(DataError, match=f"Area_1_office_1.npy: {said}"):
        source.read(1)


BAD_ARRAYS = {
    "6 columns": (np.zeros((5, 6)), r"found float64 of shape \(5, 6\)"),
    "objects": (np.full((5, 7), None), "contains pickled Python objects"),
    "words": (np.full((5, 7), "word"), "found <U4"),
}


@pytest.mark.parametrize("case", BAD_ARRAYS)
def test_other_arrays_under_the_name_of_a_room(rooms, case):
    array, said = BAD_ARRAYS[case]
    np.save(rooms / "Area_1_office_1.npy", array, allow_pickle=True)
    with pytest.raises(DataError, match=said):
        open_s3dis(rooms, "area_1").read(1)


def test_a_header_that_promises_too_much(rooms):
    """It must be found out without allocating what it says."""
    path = rooms / "Area_1_office_1.npy"
    raw = path.read_bytes()
    for shape in (b"(5000000000000, 7), ", b"(50, 7, , ", b"(-5, 7), ", b"(50, 7"):
        head = raw[:128].replace(b"(50, 7), ", shape)
        path.write_bytes(head[:127].rstrip().ljust(127) + b"\n" + raw[128:])
        with pytest.raises(DataError, match="truncated or damaged"):
            open_s3dis(rooms, "area_1").read(1)


def test_random_damage_to_a_header_is_always_said(rooms):
    path = rooms / "Area_1_office_1.npy"
    raw, rng = path.read_bytes(), np.random.default_rng(0)
    source, refused = open_s3dis(rooms, "area_1"), 0
    for _ in range(300):
        spoilt = bytearray(raw)
        spoilt[rng.integers(0, 128)] = rng.choice([*b"0179(),'{} x", 0, 255])
        path.write_bytes(spoilt)
        try:
            source.read(1)
        except DataError:
            refused += 1
    assert refused > 100
