"""Votes of overlapping blocks, against points one after the other."""

import numpy as np
import pytest
import rooms
import scene_jobs
import torch
from processes import run_ranks

from pointssl.engine.distributed import World
from pointssl.tasks import scene_evaluation as scenes
from pointssl_datasets.scenes.rooms import open_scenes
from pointssl_datasets.sets.s3dis import PARTS, open_s3dis

ALONE = World(0, 0, 1, torch.device("cpu"))


@pytest.fixture(scope="module")
def layouts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("s3dis")
    return {
        "rooms": rooms.write_rooms(folder / "rooms", count=600),
        "blocks": rooms.write_blocks(folder / "blocks", count=600, points=100),
    }


@pytest.mark.parametrize(("stored", "points"), [(10, 4), (8, 4), (3, 8), (1, 5), (4, 4)])
def test_every_point_of_a_block_has_one_vote(stored, points):
    voters = []
    for rows, count in scenes.chunks(stored, points, 0, 1, 2):
        assert rows.shape == (points,)
        assert 1 <= count <= points
        voters += rows[:count].tolist()
        assert set(rows[count:]) <= set(range(stored))
    assert sorted(voters) == list(range(stored))
    again = [rows.tolist() for rows, _ in scenes.chunks(stored, points, 0, 1, 2)]
    assert again == [rows.tolist() for rows, _ in scenes.chunks(stored, points, 0, 1, 2)]


def slow_votes(net, scene, points, channels, room):
    """Sums by hand, one chunk and one point at a time."""
    votes = np.zeros((len(scene.part), len(PARTS)))
    for number, (rows, block) in enumerate(scene.blocks):
        for chosen, count in scenes.chunks(len(rows), points, 0, room, number):
            parts = [block["xyz"], block["colours"], block["place"]]
            x = np.concatenate(parts[: scenes.CHANNELS[channels] // 3], axis=1)[chosen]
            x = torch.from_numpy(x)[None]
            feats = x[..., 3:] if x.shape[-1] > 3 else None
            with torch.no_grad():
                said = net.logits(x[..., :3], feats)[0].double().softmax(-1).numpy()
            for place in range(count):
                votes[rows[chosen[place]]] += said[place]
    return votes


@pytest.mark.parametrize("layout", ["rooms", "blocks"])
@pytest.mark.parametrize("channels", list(scenes.CHANNELS))
def test_merged_votes_equal_their_slow_twin(layouts, layout, channels):
    opened = open_scenes(open_s3dis(layouts[layout], "train"), 1.0, 0.5)
    net = scene_jobs.PlaceNet(scenes.CHANNELS[channels])
    matrix = np.zeros((13, 13), int)
    for room in range(len(opened.names)):
        wanted = slow_votes(net, opened.read(room), 64, channels, room)
        how = {"points": 64, "channels": channels, "seed": 0, "room": room}
        scene = opened.read(room)
        votes = scenes.room_votes(net, scene, 13, ALONE.device, **how)
        np.testing.assert_allclose(votes.numpy(), wanted, atol=1e-4)
        assert (wanted.sum(axis=1) > 0.99).all()
        for truth, said in zip(scene.part, votes.numpy().argmax(axis=1), strict=True):
            matrix[truth, said] += 1
    found = scene_jobs.confusion(ALONE, layouts[layout], channels)["matrix"].numpy()
    np.testing.assert_array_equal(found, matrix)
    assert len(np.unique(matrix.nonzero()[1])) > 3


def test_one_rank_equals_two(layouts, tmp_path):
    for layout, root in layouts.items():
        arguments = (root, "xyz-rgb-place", 64, (0, 1, 3))
        alone = scene_jobs.confusion(ALONE, *arguments)
        ranks = run_ranks(scene_jobs.confusion, 2, tmp_path / layout, *arguments)
        for one in ranks:
            assert torch.equal(one["matrix"], alone["matrix"])
            assert [room["name"] for room in one["shown"]] == [r["name"] for r in alone["shown"]]
            for room, other in zip(one["shown"], alone["shown"], strict=True):
                assert torch.equal(room["predicted"], other["predicted"])
                assert torch.equal(room["xyz"], other["xyz"])


def test_scores_of_a_confusion():
    matrix = np.zeros((13, 13), int)
    matrix[0, 0], matrix[1, 1], matrix[1, 2], matrix[3, 1] = 6, 3, 1, 2
    scores = scenes.scene_scores(matrix, PARTS)
    ious = [1, 3 / 6, 0, 0]
    assert scores["miou"] == pytest.approx(sum(ious) / 4)
    assert scores["accuracy"] == pytest.approx(9 / 12)
    assert scores["class_accuracy"] == pytest.approx((1 + 0.75 + 0) / 3)
    assert scores["absent"] == list(PARTS[4:])
    assert scores["per_part"][2] == {"part": "wall", "points": 0, "iou": 0.0, "accuracy": None}
    assert scores["points"] == 12
