"""`pointssl finetune semseg` from rooms and from blocks, on networks of a few channels."""

import json
import re

import h5py
import numpy as np
import pytest
import rooms
import torch
from in_process import call, refused
from processes import pointssl
from tiny import flags

from pointssl.checkpoints.file import load_checkpoint
from pointssl.config.finetune import FinetuneSemsegConfig
from pointssl.config.pretrain import PretrainConfig
from pointssl.engine.distributed import World
from pointssl.engine.loading import seeded
from pointssl.engine.stopping import Stopped
from pointssl.recipes.finetune import semseg as finetune_semseg
from pointssl.recipes.finetune.presets import SEMSEG, filled
from pointssl.recipes.finetune.rooms import choose_rooms
from pointssl.recipes.pretrain import run as pretrain
from pointssl.reports.figures.scenes import opened, rooms_figure
from pointssl.runs.trackers import read_metrics
from pointssl.tasks.loading import load_task
from pointssl.tasks.scene_evaluation import CHANNELS, evaluate_scenes, feats_of, scene_scores
from pointssl_datasets.base.errors import DataError, UsageError, UserError
from pointssl_datasets.scenes.rooms import open_scenes
from pointssl_datasets.sets.s3dis import PARTS, open_s3dis

ALONE = World(0, 0, 1, torch.device("cpu"))
SMALL = {
    "points": 64, "k": 4, "embedding": 16, "backbone_arg": ("channels=8",), "batch_size": 4,
    "epochs": 2, "device": "cpu", "threads": 1, "progress": False, "pictures": False,
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("s3dis")
    rooms.write_rooms(folder / "rooms", count=1200)
    rooms.write_blocks(folder / "blocks", count=1200, points=128)
    all_six = [f"Area_{area}_office_1" for area in range(1, 7)]
    rooms.write_rooms(folder / "six", names=all_six, count=700, size=(1.5, 1.2, 2.5))
    return folder


@pytest.fixture
def options(place, tmp_path):
    return lambda **changes: {
        **SMALL, "data_root": place / "rooms", "cache_dir": place / "cache",
        "run_dir": tmp_path / "run", **changes,
    }  # fmt: skip


@pytest.fixture
def semseg(options):
    return lambda **changes: finetune_semseg.run(FinetuneSemsegConfig(**options(**changes)))["runs"]


@pytest.mark.parametrize("layout", ["rooms", "blocks"])
def test_from_scratch(semseg, place, tmp_path, capsys, layout):
    (found,) = semseg(data_root=place / layout, epochs=10, rotate="up")
    said, run = capsys.readouterr().out, tmp_path / "run"
    assert json.loads((run / "results.json").read_text())["results"] == found
    test = found["test"]["merged"]
    source = open_s3dis(place / layout, "test")
    scenes = open_scenes(source, 1.0, 0.5)
    points = sum(len(scenes.read(i).part) for i in range(2))
    assert (found["test"]["rooms"], found["test"]["points"]) == (2, points)
    assert np.sum(test["confusion"]) == points
    if layout == "rooms":
        assert points == sum(len(source.read(i)["xyz"]) for i in range(2))
    for word in (
        "protocol strict", "k 4", "64 points (random)", "seeds 0", "test was looked at once",
        "areas 3, 4, 6 are not there", "1 of 4 train rooms are held out to choose the epoch",
        "left out of the mIoU, in neither truth nor prediction:", "2 rooms of area 5", "bookcase",
    ):  # fmt: skip
        assert word in " ".join(said.split()), word
    rows = read_metrics(run)
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert found["epoch"] == 1 + int(np.argmax([row["val_miou"] for row in rows]))
    assert test["miou"] > 0.15  # naming everything a wall gives 0.04
    # What was tested is what the checkpoint holds.
    task, facts = load_task(run / "checkpoints" / "model.pt")
    assert facts["feats"] == ["colours", "place"]
    assert facts["backbone_args"]["neighbour_channels"] == [6, 7, 8]
    assert (facts["parts"], facts["normalise"]) == (list(PARTS), "none")
    how = {"points": 64, "channels": "xyz-rgb-place", "seed": 0}
    matrix, _ = evaluate_scenes(task, scenes, range(2), PARTS, ALONE, **how)
    assert matrix.tolist() == test["confusion"]


def test_dgcnn_tests_the_last_epoch(semseg, capsys):
    preset = SEMSEG["dgcnn"]
    config = filled(FinetuneSemsegConfig(protocol="dgcnn"), preset)
    wanted = {
        "optimizer": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 1e-4, "min_lr": 1e-3,
        "schedule": "cosine", "epochs": 100, "batch_size": 32, "smoothing": 0.2, "k": 20,
        "points": 4096, "backbone": "dgcnn_seg", "augment": "none", "test_area": 5,
    }  # fmt: skip
    assert {name: getattr(config, name) for name in wanted} == wanted
    (found,) = semseg(protocol="dgcnn")
    assert (found["epoch"], found["epoch_chosen_by"]) == (2, "the last epoch")
    assert found["validation"] is None
    assert "best test score; here the last one is tested" in " ".join(
        capsys.readouterr().out.split()
    )


def test_a_stopped_run_continues_to_the_same_result(semseg, tmp_path):
    (whole,) = semseg(run_dir=tmp_path / "whole")
    for _ in range(3):
        with pytest.raises(Stopped):
            semseg(max_time=0)
    (found,) = semseg()
    assert found["test"] == whole["test"]
    one, other = (
        load_checkpoint(tmp_path / name / "checkpoints" / "model.pt")["method"]
        for name in ("run", "whole")
    )
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    assert semseg() == [found]  # read, not trained again
    with pytest.raises(UsageError, match="--test-area 5 then, 2 now"):
        semseg(test_area=2)


def test_six_fold_sums_the_counts(semseg, place, tmp_path, capsys):
    (found,) = semseg(data_root=place / "six", six_fold=True, epochs=1, val_share=0, pictures=True)
    said = capsys.readouterr().out
    folds = [
        json.loads((tmp_path / "run" / f"area_{area}" / "results.json").read_text())
        for area in range(1, 7)
    ]
    assert [fold["config"]["test_area"] for fold in folds] == list(range(1, 7))
    total = np.zeros((13, 13), int)
    for fold in folds:
        assert fold["results"]["test"]["areas"] == f"area {fold['config']['test_area']}"
        total += np.array(fold["results"]["test"]["merged"]["confusion"])
    assert found["test"]["merged"] == scene_scores(total, PARTS)
    stored = sum(len(np.load(path)) for path in (place / "six").iterdir())
    assert (total.sum(), found["test"]["rooms"]) == (stored, 6)
    blocks = "/".join(str(fold["results"]["train"]) for fold in folds)
    assert f"{blocks} train clouds of s3dis; seeds 0; epoch 1/1/1/1/1/1 of 1" in said
    assert said.rstrip().endswith(f"mIoU: {100 * found['test']['merged']['miou']:.1f}")
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["runs"] == [found]


def test_under_torchrun(options, place, tmp_path):
    run = tmp_path / "run"
    ended = pointssl("finetune", "semseg", *flags(options(pictures=True)), ranks=2)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("results: ") == 1
    assert "2 process(es)" in ended.stdout
    for name in ("rooms.png", "classes.png", "loss_curves.png", "config.yaml"):
        assert (run / name).stat().st_size > 100
    scenes = open_scenes(open_s3dis(place / "rooms", "test"), 1.0, 0.5)
    task, _ = load_task(run / "checkpoints" / "model.pt")
    how = {"points": 64, "channels": "xyz-rgb-place", "seed": 0}
    matrix, _ = evaluate_scenes(task, scenes, range(2), PARTS, ALONE, **how)
    results = json.loads((run / "results.json").read_text())["results"]
    assert results["test"]["merged"]["confusion"] == matrix.tolist()


def test_a_pretrained_encoder(semseg, options, place, tmp_path, capsys):
    first = tmp_path / "pretrained"
    shared = {name: value for name, value in SMALL.items() if name not in ("pictures", "epochs")}
    pretrain(
        PretrainConfig(
            **shared,
            data="s3dis",
            data_root=place / "blocks",
            cache_dir=place / "cache",
            backbone="dgcnn_seg",
            image_encoder="none",
            epochs=1,
            run_dir=first,
        )
    )
    weights = first / "checkpoints" / "last.pt"
    given = {"weights": weights, "backbone_arg": (), "k": None, "points": None, "embedding": None}
    (found,) = semseg(**given, freeze_backbone=True)
    notes = " ".join(found["notes"])
    assert "takes coordinates alone: no colour, no place" in notes
    assert "pretrained with normalise = unit-sphere, evaluated with none" in notes
    assert "LEAKAGE" not in notes
    encoder = load_checkpoint(tmp_path / "run" / "checkpoints" / "model.pt")["encoder"]
    before = load_checkpoint(weights)["encoder"]
    assert all(torch.equal(value, before[name]) for name, value in encoder.items())
    (found,) = semseg(**given, test_area=2, run_dir=tmp_path / "leak")
    assert "LEAKAGE: the encoder was trained on area 2" in " ".join(found["notes"])
    with pytest.raises(UsageError, match="--channels xyz-rgb: the encoder takes xyz; leave"):
        semseg(**given, channels="xyz-rgb", run_dir=tmp_path / "other")
    # A network for scenes is an encoder too, and has seen its own train areas.
    (found,) = semseg(
        **{**given, "weights": tmp_path / "run" / "checkpoints" / "model.pt"}, test_area=1,
        run_dir=tmp_path / "again",
    )  # fmt: skip
    assert "LEAKAGE: the encoder was trained on area 1" in " ".join(found["notes"])


def test_training_on_blocks_and_testing_on_whole_rooms(semseg, place):
    (found,) = semseg(
        data_root=place / "blocks", test_root=place / "rooms", channels="xyz-rgb", epochs=1
    )
    stored = sum(len(rooms.room(seed, count=1200)) for seed in (4, 5))
    assert found["test"]["points"] == stored


@pytest.mark.parametrize("fraction", [1.0, 0.5])
def test_rooms_are_chosen_by_seed(fraction):
    names = [f"Area_1_office_{i}" for i in range(20)]
    used, held = choose_rooms(names, fraction, 0.1, seed=0)
    assert len(used) + len(held) == 20 * fraction
    assert len(held) == round(2 * fraction)
    assert set(used).isdisjoint(held)
    assert choose_rooms(names, fraction, 0.1, seed=0) == (used, held)
    assert choose_rooms(names, fraction, 0.1, seed=1)[1] != held
    assert choose_rooms(names[:1], 1.0, 0.1, seed=0) == (names[:1], [])
    assert choose_rooms(names, 1.0, 0.0, seed=0)[1] == []


def test_a_block_and_its_place_turn_together():
    data = torch.Generator().manual_seed(0)
    batch = {
        "xyz": torch.randn(4, 9, 3, generator=data),
        "place": torch.rand(4, 9, 3, generator=data),
        "colour": torch.rand(4, 9, 3, generator=data),
    }
    splits = finetune_semseg.SceneSplits(
        None, None, None, None, np.array([0.5, 0.5, -0.5], np.float32), PARTS, []
    )

    def view(world, rows, **changes):
        config = filled(FinetuneSemsegConfig(**changes), SEMSEG["strict"])
        share = {name: value[rows] for name, value in batch.items()}
        how = {"config": config, "splits": splits, "channels": "xyz-rgb-place", "world": world}
        return finetune_semseg.prepare(share, seeded("cpu", 3), **how)

    turned = view(ALONE, slice(None), rotate="up")
    assert torch.equal(turned["feats"][..., :3], batch["colour"])
    torch.testing.assert_close(turned["xyz"][..., 1], batch["xyz"][..., 1])
    middle = torch.tensor([0.5, 0.5, -0.5])
    for one, xyz, place in zip(range(4), batch["xyz"], batch["place"] - middle, strict=True):
        turn = torch.linalg.lstsq(xyz, turned["xyz"][one]).solution
        assert not torch.allclose(turn, torch.eye(3), atol=1e-2)
        torch.testing.assert_close(
            place @ turn + middle, turned["feats"][one, :, 3:], atol=1e-4, rtol=0
        )
    halves = [view(World(r, r, 2, ALONE.device), slice(2 * r, 2 * r + 2), rotate="up",
                   augment="scale-shift")["feats"] for r in range(2)]  # fmt: skip
    whole = view(ALONE, slice(None), rotate="up", augment="scale-shift")
    torch.testing.assert_close(torch.cat(halves), whole["feats"])
    assert torch.equal(view(ALONE, slice(None))["xyz"], batch["xyz"])


def test_channels_are_what_their_name_says():
    batch = {"colour": torch.zeros(1, 2, 3), "place": torch.ones(1, 2, 3)}
    for channels, count in CHANNELS.items():
        feats = feats_of(batch, channels)
        assert (0 if feats is None else feats.shape[-1]) == count - 3
    assert feats.sum() == 6


def test_rooms_are_cut_open(tmp_path):
    table = rooms.room(0, count=2000)
    x, y, z = (table[:, :3] - table[:, :3].min(axis=0)).T
    xyz, truth = np.stack([x, z, -y], axis=1).astype(np.float32), table[:, 6].astype(int)
    kept = opened(xyz, truth, PARTS)
    assert not (truth[kept] == PARTS.index("ceiling")).any()
    assert set(truth[kept]) == set(truth) - {PARTS.index("ceiling"), PARTS.index("door")}
    assert xyz[kept].max(axis=0)[0] < xyz.max(axis=0)[0] - 0.1
    assert opened(xyz[:2], truth[:2] * 0, PARTS).all()
    with pytest.raises(UserError, match="no rooms to draw"):
        rooms_figure([], PARTS, tmp_path / "a.png", "")


MISTAKES = {
    "no folder": ({"data_root": "nowhere"}, 1, "does not exist"),
    "another dataset": ({"data": "shapes"}, 2, "scene segmentation takes s3dis"),
    "an area that is not there": ({"test_area": 3}, 2, "--test-area 3: .*has the areas 1, 2, 5"),
    "no such area": ({"test_area": 7}, 2, "--test-area 7: must be at least 1 and at most 6"),
    "gaps": ({"test_stride": 2}, 2, "--test-stride 2 leaves gaps between blocks"),
    "gaps in training": ({"train_stride": 1.5}, 2, "--train-stride 1.5 leaves gaps"),
    "votes": ({"votes": 2}, 2, "blocks of a room vote already"),
    "k": ({"k": 65}, 1, "clouds of 64 points have fewer than k = 65 neighbours"),
    "normals": ({"normals": True}, 2, "S3DIS has .* no normals"),
    "tiny blocks": ({"block_size": 0.1, "test_stride": 0.1}, 1, "has 100 points. Are the coordin"),
    "six areas": ({"six_fold": True}, 2, "--six-fold: areas 3, 4, 6 are not there"),
    "so3": ({"rotate": "so3"}, 2, "--rotate 'so3': choose one of none, up"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_mistakes_are_one_line(capfd, options, case, tmp_path):
    changes, code, said = MISTAKES[case]
    message = refused(capfd, code, "finetune", "semseg", *flags(options(**changes)))
    assert re.search(said, message), message
    assert not (tmp_path / "run").exists()


def test_the_only_area_is_for_test(semseg, tmp_path):
    root = rooms.write_rooms(tmp_path / "one", names=["Area_5_office_1"], count=500)
    with pytest.raises(UsageError, match="has no other area to train on"):
        semseg(data_root=root)


@pytest.mark.parametrize("layout", ["rooms", "blocks"])
def test_a_bad_test_room_is_found_before_training(semseg, tmp_path, layout):
    """Not after a day of it."""
    if layout == "rooms":
        root = rooms.write_rooms(tmp_path / "bad", count=500)
        table = np.load(root / "Area_5_hallway_1.npy")
        table[7, 6] = 99
        np.save(root / "Area_5_hallway_1.npy", table)
        said = r"Area_5_hallway_1.npy: 1 of \d+ point labels are not from 0 to 12: 99"
    else:
        root = rooms.write_blocks(tmp_path / "bad", count=500, points=64)
        with h5py.File(root / "ply_data_all_1.h5", "r+") as file:
            file["label"][-1, 3] = 13
        said = "point labels? (are|is) not from 0 to 12: 13"
    with pytest.raises(DataError, match=said):
        semseg(data_root=root)
    assert not (tmp_path / "run").exists()


def test_rooms_narrower_than_a_block(semseg, place, capfd, options):
    (found,) = semseg(data_root=place / "rooms", block_size=5.0, epochs=1, batch_size=2)
    assert "2 of 2 rooms are narrower than a block of 5 m" in " ".join(found["notes"])
    assert call(capfd, "finetune", "semseg", "--help").code == 0
