"""Rooms as the network sees them, block by block, in both layouts."""

import h5py
import numpy as np
import pytest
import rooms

from pointssl_datasets.base.errors import DataError
from pointssl_datasets.scenes.rooms import holds_blocks, open_scenes, room_of
from pointssl_datasets.sets.s3dis import open_s3dis


@pytest.fixture
def blocks(tmp_path):
    return rooms.write_blocks(tmp_path / "indoor3d_sem_seg_hdf5_data", count=900, points=128)


def test_rooms_are_cut(tmp_path):
    folder = rooms.write_rooms(tmp_path / "rooms", count=900)
    source = open_s3dis(folder, "test")
    scenes = open_scenes(source, 1.0, 0.5)
    assert not holds_blocks(source)
    assert scenes.names == ["Area_5_hallway_1", "Area_5_office_1"]
    scene, table = scenes.read(1), rooms.room(4, count=900)
    x, y, z = (table[:, :3] - table[:, :3].min(axis=0)).T
    np.testing.assert_allclose(scene.xyz, np.stack([x, z, -y], axis=1), atol=1e-5)
    np.testing.assert_array_equal(scene.part, table[:, 6])
    seen = np.zeros(len(table), int)
    for rows, block in scene.blocks:
        seen[rows] += 1
        np.testing.assert_array_equal(block["part"], table[rows, 6])
        np.testing.assert_array_equal(block["xyz"][:, 1], scene.xyz[rows, 1])
        size = scene.xyz.max(axis=0) - scene.xyz.min(axis=0)
        np.testing.assert_allclose(block["place"] * size, scene.xyz[rows], atol=1e-5)
    assert seen.min() >= 1
    assert seen.max() == 4


def slow_join(root, room):
    """Points of a room by their place, one after the other: label, and how often it is stored."""
    found, lines = {}, (root / "room_filelist.txt").read_text().split()
    number = 0
    for name in ("ply_data_all_0.h5", "ply_data_all_1.h5"):
        with h5py.File(root / name) as file:
            for data, label in zip(file["data"][:], file["label"][:], strict=True):
                if lines[number] == room:
                    for point, part in zip(data, label, strict=True):
                        first, times = found.get(tuple(point[6:]), (part, 0))
                        found[tuple(point[6:])] = (first, times + 1)
                number += 1
    return found


def test_blocks_are_joined_where_their_points_are_the_same(blocks):
    source = open_s3dis(blocks, "test")
    scenes = open_scenes(source, 1.0, 0.5)
    assert holds_blocks(source)
    assert scenes.names == ["Area_5_office_1", "Area_5_hallway_1"]
    assert room_of(source.names[0]) == "Area_5_office_1"
    wanted = slow_join(blocks, "Area_5_hallway_1")
    scene = scenes.read(1)
    assert len(scene.part) == len(scene.xyz) == len(wanted)
    times, places = np.zeros(len(wanted), int), np.zeros((len(wanted), 3))
    for rows, block in scene.blocks:
        np.add.at(times, rows, 1)
        x, y, z = block["place"].T
        places[rows] = np.stack([x, -z, y], axis=1)
        np.testing.assert_array_equal(scene.part[rows], block["part"])
    assert times.max() > 2
    for place, part, count in zip(places, scene.part, times, strict=True):
        assert wanted[tuple(place.astype(np.float32))] == (part, count)
    table = rooms.room(5, count=900)
    size = np.ptp(table[:, :3], axis=0)[[0, 2, 1]]
    np.testing.assert_allclose(np.ptp(scene.xyz, axis=0), size, rtol=0.02)


def test_blocks_that_do_not_say_where_they_are(blocks):
    last = (blocks / "room_filelist.txt").read_text().split().count("Area_5_hallway_1")
    with h5py.File(blocks / "ply_data_all_1.h5", "r+") as file:
        file["data"][-last:, :, 6:] = 0
    scenes = open_scenes(open_s3dis(blocks, "test"), 1.0, 0.5)
    scenes.read(0)
    with pytest.raises(DataError, match="Area_5_hallway_1: columns 7 to 9 of its blocks do not"):
        scenes.read(1)
    with h5py.File(blocks / "ply_data_all_1.h5", "r+") as file:
        file["data"][:, :, 6:] = 0
    with pytest.raises(DataError, match="Area_5_office_1: columns 7 to 9"):  # not after an epoch
        open_scenes(open_s3dis(blocks, "test"), 1.0, 0.5)
