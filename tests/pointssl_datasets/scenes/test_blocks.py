"""Rooms cut into blocks, against one comparison after the other."""

import numpy as np
import pytest
import rooms

from pointssl_datasets.base.errors import DataError
from pointssl_datasets.scenes import blocks
from pointssl_datasets.scenes.blocks import block_of, count_blocks, cut, measure, pack_blocks
from pointssl_datasets.serving.dataset import CloudDataset
from pointssl_datasets.sets.s3dis import open_s3dis


@pytest.mark.parametrize(("size", "stride"), [(1.0, 1.0), (1.0, 0.5), (0.7, 0.31), (9.0, 9.0)])
def test_blocks_are_the_squares_of_the_floor_plan(size, stride):
    table = rooms.room(3, count=400)
    xyz = table[:, :3].astype(np.float32)
    wanted = list(rooms.squares(table, size, stride))
    found = list(cut(xyz, 2, size, stride))
    assert len(found) == len(wanted) > (size < 9)
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(one, other)
    times = np.bincount(np.concatenate(found), minlength=len(xyz))
    assert times.min() == 1
    assert (times.max() == 1) == (stride == size)
    # The same room lying on its side is cut the same way.
    lying = list(cut(xyz[:, [2, 0, 1]], 0, size, stride))
    assert [rows.tolist() for rows in lying] == [rows.tolist() for rows in found]


@pytest.mark.parametrize(
    ("extent", "size", "stride", "count"),
    [(0.0, 1, 1, 1), (0.4, 1, 0.5, 1), (1.0, 1, 1, 1), (1.01, 1, 1, 2), (3.0, 1, 0.5, 5),
     (3.0000002, 1, 1, 3), (2.6, 1, 0.5, 5)],
)  # fmt: skip
def test_how_many_blocks_stand_side_by_side(extent, size, stride, count):
    assert count_blocks(extent, size, stride) == count


def test_a_block_is_seen_from_its_middle_and_its_floor():
    table = rooms.room(1)
    cloud = {"xyz": table[:, :3].astype(np.float32), "part": table[:, 6].astype(np.int64)}
    room = measure(cloud)
    rows = list(cut(cloud["xyz"], 2, 1.0, 1.0))[4]
    block = block_of(room, rows, 2, 1.0)
    inside = table[rows, :3]
    low, high = table[:, :3].min(axis=0), table[:, :3].max(axis=0)
    wanted = inside - inside.min(axis=0) - 0.5
    wanted[:, 2] = inside[:, 2] - low[2]
    np.testing.assert_allclose(block["xyz"], wanted, atol=1e-5)
    np.testing.assert_allclose(block["place"], (inside - low) / (high - low), atol=1e-6)
    np.testing.assert_array_equal(block["part"], table[rows, 6])
    assert block["xyz"].dtype == block["place"].dtype == np.float32


@pytest.fixture
def folder(tmp_path):
    return rooms.write_rooms(tmp_path / "stanford_indoor3d", count=1500)


def test_blocks_are_cut_once(folder, tmp_path, monkeypatch):
    source = open_s3dis(folder, "area_1")
    how = {"size": 1.0, "stride": 1.0, "cache_dir": tmp_path / "cache", "progress": False}
    packed = pack_blocks(source, **how)
    served = CloudDataset(packed, points=64, colours=True, place=True)
    assert served.names[0].startswith("Area_1_hallway_1/000")
    assert served.parts == source.parts
    assert served[0].keys() == {"index", "label", "xyz", "colour", "place", "part"}
    assert float(served[0]["xyz"][:, [0, 2]].abs().max()) <= 0.5 + 1e-5
    total = sum(source.read(i)["xyz"].shape[0] for i in range(2))
    squares = [rows for i in (1, 0) for rows in rooms.squares(rooms.room(i, count=1500), 1, 1)]
    sparse = [len(rows) for rows in squares if len(rows) < 100]
    assert len(served) == len(squares) - len(sparse)
    assert len(served._xyz) == total - sum(sparse)
    said = f"{len(sparse)} of {len(squares)} blocks have fewer than 100 points and are left out of "
    assert f"{said}training ({sum(sparse)} points)" in served.notes

    def fail(*_, **__):
        raise AssertionError("cut again")

    monkeypatch.setattr(blocks, "list_blocks", fail)
    assert pack_blocks(open_s3dis(folder, "area_1"), **how) == packed
    with pytest.raises(AssertionError):
        pack_blocks(source, **{**how, "stride": 0.5})
    np.save(folder / "Area_1_office_1.npy", rooms.room(9))
    with pytest.raises(AssertionError):
        pack_blocks(open_s3dis(folder, "area_1"), **how)


def test_a_packed_block_is_that_of_its_room(folder, tmp_path):
    source = open_s3dis(folder, "area_2")
    how = {"cache_dir": tmp_path / "cache", "progress": False}
    packed = pack_blocks(source, size=1.0, stride=0.5, **how)
    served = CloudDataset(packed, points=5000, sampling="first", place=True)
    for number in (0, len(served) - 1):
        room, _, place = served.names[number].partition("/")
        cloud = source.read(list(source.names).index(room))
        rows = list(cut(cloud["xyz"], 2, 1.0, 0.5))[int(place)]
        wanted = block_of(measure(cloud), rows, 2, 1.0)
        for field in ("xyz", "place"):
            x, y, z = served[number][field][: len(rows)].numpy().T
            np.testing.assert_array_equal(np.stack([x, -z, y], axis=1), wanted[field])


def test_rooms_that_are_no_rooms_in_metres(tmp_path):
    folder = rooms.write_rooms(tmp_path / "rooms", count=900)
    for path in folder.iterdir():
        table = np.load(path)
        table[:, :3] *= 0.01
        np.save(path, table)
    source = open_s3dis(folder, "area_1")
    how = {"stride": 1.0, "size": 1.0, "cache_dir": tmp_path / "cache", "progress": False}
    notes = CloudDataset(pack_blocks(source, **how), points=9).notes
    assert any(
        "2 of 2 rooms are narrower than a block of 1 m: are the coordinates in metres?" in note
        for note in notes
    )
    with pytest.raises(DataError, match=r"none of the \d+ blocks of 0.001 m in 2 rooms has 100"):
        pack_blocks(source, **{**how, "size": 0.001, "stride": 0.001})


def test_a_bad_room_is_said_and_nothing_is_left(folder, tmp_path):
    table = np.load(folder / "Area_1_office_1.npy")
    table[5, 6] = 13
    np.save(folder / "Area_1_office_1.npy", table)
    source = open_s3dis(folder, "area_1")
    with pytest.raises(DataError, match=r"Area_1_office_1.npy: 1 of \d+ point labels"):
        pack_blocks(source, size=1.0, stride=1.0, cache_dir=tmp_path / "cache", progress=False)
    assert not [path for path in (tmp_path / "cache" / "clouds").iterdir() if path.is_dir()]
