"""`pointssl finetune partseg` and `cls`, from data to results, on networks of a few channels."""

import json

import numpy as np
import pytest
import torch
from layouts import write_shapenetpart_hdf5, write_shapenetpart_text
from processes import assert_no_traceback, pointssl, started, wait_until
from tiny import flags, write_clouds

from pointssl.checkpoints.file import load_checkpoint
from pointssl.config.finetune import FinetuneClsConfig, FinetunePartsegConfig
from pointssl.config.pretrain import PretrainConfig
from pointssl.engine.stopping import Stopped
from pointssl.metrics import shape_iou
from pointssl.recipes.finetune import cls as finetune_cls
from pointssl.recipes.finetune import partseg as finetune_partseg
from pointssl.recipes.finetune.presets import CLS, PARTSEG, filled
from pointssl.recipes.finetune.splits import held_out
from pointssl.recipes.pretrain import run as pretrain
from pointssl.runs.trackers import read_metrics
from pointssl.tasks.class_evaluation import evaluate_classes
from pointssl.tasks.loading import load_task
from pointssl.tasks.outputs import vote_scale
from pointssl.tasks.part_evaluation import evaluate_parts
from pointssl.tasks.part_labels import number_parts
from pointssl_datasets.base.errors import DataError, UsageError
from pointssl_datasets.serving.dataset import load_dataset

SMALL = {
    "size": 48, "points": 64, "k": 4, "embedding": 16, "batch_size": 16, "epochs": 2,
    "device": "cpu", "threads": 1, "progress": False, "pictures": False,
}  # fmt: skip
TINY_SEG = {"backbone": "dgcnn_seg", "backbone_arg": ("channels=8", "align=false")}
TINY_CLS = {"backbone_arg": ("channels=[8,8]",)}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def partseg(cache, tmp_path):
    def go(**changes):
        place = {"cache_dir": cache, "run_dir": tmp_path / "run"}
        config = FinetunePartsegConfig(**{**SMALL, **TINY_SEG, **place, **changes})
        return finetune_partseg.run(config)["runs"]

    return go


@pytest.fixture
def cls(cache, tmp_path):
    def go(**changes):
        place = {"cache_dir": cache, "run_dir": tmp_path / "run"}
        config = FinetuneClsConfig(**{**SMALL, **TINY_CLS, **place, **changes})
        return finetune_cls.run(config)["runs"]

    return go


def test_partseg_from_scratch(partseg, cache, tmp_path, capsys):
    (found,) = partseg(pictures=True, votes=2, epochs=3)
    said = capsys.readouterr().out
    run = tmp_path / "run"
    for name in ("parts.png", "categories.png", "loss_curves.png", "results.json", "config.yaml"):
        assert (run / name).stat().st_size > 100
    assert json.loads((run / "results.json").read_text())["results"] == found
    test = found["test"]
    assert test["headline"] == "masked"
    assert test["shapes"] == 48
    assert test["points"] == 48 * 2048
    assert test["masked"]["instance_miou"] >= test["free"]["instance_miou"]
    assert {"masked_voted", "free_voted"} <= set(test)
    for word in (
        "protocol strict", "k 4", "64 points (random)", "seeds 0", "masked, voted",
        "test was looked at once", "airplane", "chosen by the best instance_miou",
    ):  # fmt: skip
        assert word in said, word
    losses = [row["loss"] for row in read_metrics(run)]
    assert losses[-1] < losses[0]
    assert found["epoch"] == 1 + int(
        np.argmax([row["val_instance_miou"] for row in read_metrics(run)])
    )
    # what was tested is what the checkpoint holds
    task, facts = load_task(run / "checkpoints" / "model.pt")
    assert facts["parts_of"][4] == [12, 13, 14, 15]
    assert facts["category"] == "given"
    data = load_dataset("shapes", None, "test", points=64, size=48, cache_dir=cache)
    again = evaluate(task, data, number_parts(data))
    assert again["masked"]["instance_miou"] == pytest.approx(test["masked"]["instance_miou"])


def evaluate(task, data, numbers, **options):
    from pointssl.engine.distributed import World

    world = World(0, 0, 1, torch.device("cpu"))
    rows = np.arange(len(data))
    return evaluate_parts(task, data, rows, numbers, world, batch_size=8, **options)


@pytest.mark.parametrize("points", [48, 3000])
def test_evaluation_against_a_slow_twin(points, cache):
    """Cloud by cloud, point by point; with fewer and with more points than are stored."""
    data = load_dataset("shapes", None, "test", points=points, size=16, cache_dir=cache)
    torch.manual_seed(0)
    from pointssl.backbones.dgcnn_seg import DGCNNSeg
    from pointssl.tasks.segmentation import PointSegmentation

    encoder = DGCNNSeg(k=4, embedding=16, channels=8, align=False)
    task = PointSegmentation(encoder, parts=50, categories=16, hidden=(8, 8, 8)).eval()
    numbers = number_parts(data)
    found = evaluate(task, data, numbers, votes=2)
    ious = {"masked": [], "free": [], "free_voted": []}
    for index in range(16):
        stored, sums = data.stored(index), 0
        for vote in range(2):
            data.set_epoch(vote)
            xyz = data[index]["xyz"]
            seen = xyz if vote == 0 else xyz * torch.from_numpy(vote_scale(vote))
            with torch.no_grad():
                scores = task.logits(seen[None], None, torch.tensor([index % 16]))[0].softmax(1)
            distance = ((stored["xyz"][:, None] - xyz.numpy()[None]) ** 2).sum(2)
            sums = sums + scores.numpy()[distance.argmin(1)]
            if vote == 0:
                own = list(numbers.parts_of[index % 16])
                said = {"free": sums.argmax(1), "masked": np.array(own)[sums[:, own].argmax(1)]}
        said["free_voted"] = sums.argmax(1)
        for kind, part in said.items():
            ious[kind].append(
                shape_iou([part], [stored["part"]], np.array([index % 16]), numbers.parts_of)[0]
            )
    for kind, values in ious.items():
        assert found[kind]["instance_miou"] == pytest.approx(np.mean(values), abs=1e-3), kind


def test_one_category_has_its_own_part_numbers(partseg, tmp_path):
    (found,) = partseg(class_choice="chair", batch_size=2)
    assert found["train"] == 2
    assert found["test"]["shapes"] == 3
    _, facts = load_task(tmp_path / "run" / "checkpoints" / "model.pt")
    assert facts["parts"] == ["chair/back", "chair/seat", "chair/leg", "chair/arm"]
    assert facts["parts_of"] == [[0, 1, 2, 3]]
    assert facts["classes"] == ["chair"]
    # one category: masked and free are the same
    assert found["test"]["masked"] == found["test"]["free"]


def test_without_the_category(partseg, tmp_path, capsys):
    (found,) = partseg(category="none")
    assert found["test"]["headline"] == "free"
    task, facts = load_task(tmp_path / "run" / "checkpoints" / "model.pt")
    assert facts["category"] == "none"
    assert task.categories == 0
    lines = capsys.readouterr().out.splitlines()
    (head,) = [i for i, line in enumerate(lines) if line.startswith("argmax")]
    assert lines[head + 2].startswith("free")


def test_protocol_of_crosspoint(partseg, capsys):
    (found,) = partseg(protocol="crosspoint", epochs=1)
    said = capsys.readouterr().out
    assert found["test"]["headline"] == "free"
    assert found["validation"] is None
    assert found["epoch_chosen_by"] == "the last epoch"
    assert "caveat: the public code keeps the epoch with the best test score" in said
    preset = filled(FinetunePartsegConfig(protocol="crosspoint"), PARTSEG["crosspoint"])
    assert (preset.optimizer, preset.lr, preset.min_lr, preset.epochs, preset.batch_size) == (
        "sgd", 0.1, 1e-3, 300, 8,
    )  # fmt: skip
    assert (preset.k, preset.smoothing, preset.augment, preset.backbone) == (
        40, 0.2, "none", "dgcnn_seg",
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["hdf5", "points", "normal"])
def test_the_layouts_of_shapenetpart_use_their_public_val(kind, partseg, tmp_path):
    root = tmp_path / "data"
    if kind == "hdf5":
        write_shapenetpart_hdf5(root)
    else:
        write_shapenetpart_text(root, normal=kind == "normal")
    sizes = {
        split: len(load_dataset("shapenetpart", root, split, points=4, cache_dir=tmp_path / "c"))
        for split in ("train", "val", "test")
    }
    (found,) = partseg(data="shapenetpart", data_root=root, size=None, batch_size=4, points=16,
                       normals=kind == "normal", k=4, epochs=1)  # fmt: skip
    assert found["train"] == sizes["train"]
    assert found["test"]["shapes"] == sizes["test"]
    assert not any("held out" in note for note in found["notes"])
    both = partseg(data="shapenetpart", data_root=root, size=None, batch_size=4, points=16, k=4,
                   epochs=1, protocol="crosspoint", run_dir=tmp_path / "both")  # fmt: skip
    assert both[0]["train"] == sizes["train"] + sizes["val"]


def test_what_is_validated_on_is_not_trained_on(partseg, tmp_path):
    """The protocol joins train and val; with --val-share it must not."""
    root = tmp_path / "data"
    write_shapenetpart_hdf5(root)
    sizes = [
        len(load_dataset("shapenetpart", root, split, points=4, cache_dir=tmp_path / "c"))
        for split in ("train", "val")
    ]
    options = {"data": "shapenetpart", "data_root": root, "size": None, "batch_size": 4,
               "points": 16, "epochs": 1, "protocol": "crosspoint"}  # fmt: skip
    (joined,) = partseg(**options, run_dir=tmp_path / "joined")
    assert joined["train"] == sum(sizes)
    assert any("train and val together" in note for note in joined["notes"])
    (chosen,) = partseg(**options, val_share=0.5)
    assert chosen["train"] == sizes[0]
    assert "validation" in chosen["epoch_chosen_by"]
    said = " ".join(chosen["notes"] + chosen["caveats"])
    assert "train and val together" not in said
    assert "the last one is tested" not in said
    assert "not as the protocol has it: --val-share 0.5, --epochs 1, --batch-size 4" in said


def test_parts_are_checked_before_training(partseg, tmp_path):
    """Parts without names belong to whatever categories have them in train."""
    rng = np.random.default_rng(0)

    def write(split, kind, number, parts):
        folder = tmp_path / "data" / split / kind
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(folder / f"m{number}.npz", xyz=rng.normal(size=(40, 3)), part=parts)

    halves = np.arange(40) % 2
    for number in range(6):
        write("train", "bed", number, halves)
        write("train", "cup", number, halves + 2)
        write("test", "bed", number, halves)
    options = {"data": "folder", "data_root": tmp_path / "data", "size": None, "batch_size": 4,
               "points": 16, "epochs": 1}  # fmt: skip
    write("test", "cup", 0, np.full(40, 2))
    (found,) = partseg(**options)  # test lacks the last part, which is no fault
    assert found["test"]["shapes"] == 7
    assert found["test"]["headline"] == "masked"
    write("test", "cup", 1, halves)
    with pytest.raises(DataError, match="cup/m1 of test has the part number 0, which no cup"):
        partseg(**options, run_dir=tmp_path / "late")
    assert not (tmp_path / "late").exists()
    write("test", "bed", 0, halves + 2)  # parts that one category alone has no numbers for
    with pytest.raises(DataError, match="bed/m0 of test has the part number 2, which no bed"):
        partseg(**options, class_choice="bed", run_dir=tmp_path / "late")


def test_votes_turn_normals_as_training_does(cache):
    from pointssl.augment import Draw, scale_shift_view
    from pointssl.tasks.outputs import probabilities

    class Seen:
        def logits(self, xyz, feats, category):
            self.xyz, self.feats = xyz, feats
            return torch.zeros(len(xyz), 2)

    data = torch.Generator().manual_seed(0)
    xyz, normals = torch.randn(2, 3, 9, 3, generator=data)
    normals = torch.nn.functional.normalize(normals, dim=-1)
    scale, task = vote_scale(1), Seen()
    batch = {"xyz": xyz, "feats": normals, "label": torch.zeros(3, dtype=torch.int64)}
    probabilities(task, batch, torch.device("cpu"), scale)

    class Fixed(Draw):
        def uniform(self, low, high, *shape):
            return torch.from_numpy(scale) if low > 0 else torch.zeros(3)

    wanted = scale_shift_view(xyz, normals, Fixed(data, 3, slice(0, 3)))
    assert torch.allclose(task.xyz, wanted[0])
    assert torch.allclose(task.feats, wanted[1])


def test_a_finished_run_answers_for_what_it_was_made_of(cls, tmp_path):
    for name, seed in (("a", 0), ("b", 1)):
        rng = np.random.default_rng(seed)
        for split in ("train", "test"):
            for kind in ("bed", "cup"):
                folder = tmp_path / name / split / kind
                folder.mkdir(parents=True)
                for number in range(4):
                    np.save(folder / f"m{number}.npy", rng.normal(size=(40, 3)))
    options = {"data": "folder", "size": None, "points": 16, "batch_size": 4, "epochs": 1}
    cls(**options, data_root=tmp_path / "a")
    with pytest.raises(UsageError, match="holds a run on other clouds"):
        cls(**options, data_root=tmp_path / "b")
    for file in (tmp_path / "a" / "test").rglob("*.npy"):
        np.save(file, np.load(file) * [1, 2, 3])
    with pytest.raises(UsageError, match="tested on other clouds"):
        cls(**options, data_root=tmp_path / "a")


def test_more_votes_test_again_and_do_not_train_again(cls, tmp_path):
    (one,) = cls(epochs=1)
    (three,) = cls(epochs=1, votes=3)
    assert "voted" not in one["test"]
    assert three["test"]["voted"]
    assert three["test"]["single"] == one["test"]["single"]
    assert len(read_metrics(tmp_path / "run")) == 1


def test_one_seed_and_several_share_a_folder(cls):
    (one,) = cls(epochs=1)
    two = cls(epochs=1, seeds=2)
    assert len(two) == 2
    assert cls(epochs=1) == [one]


def test_another_task_in_the_same_folder_is_refused(cls, partseg):
    cls(epochs=1, backbone="dgcnn_seg", **{"backbone_arg": TINY_SEG["backbone_arg"]})
    with pytest.raises(UsageError, match="holds a run of fine-tuning for cls"):
        partseg(epochs=1)


def test_the_clock_of_all_seeds_is_one(cls):
    with pytest.raises(Stopped, match="epoch"):
        cls(seeds=50, epochs=1, max_time=1 / 60)


def test_cls_from_a_checkpoint(cls, cache, tmp_path, capsys):
    checkpoint = pretrain(
        PretrainConfig(
            data="shapes", size=32, points=64, k=4, embedding=16, **TINY_CLS, batch_size=8,
            epochs=1, image_encoder="none", device="cpu", threads=1, progress=False,
            cache_dir=cache, run_dir=tmp_path / "pre",
        )
    )  # fmt: skip
    (found,) = cls(weights=checkpoint, points=None, k=None, embedding=None, backbone_arg=(),
                   pictures=True, layer_decay=0.7, head_lr=1e-2, votes=2)  # fmt: skip
    assert found["points"] == 64
    assert found["k"] == 4
    assert (tmp_path / "run" / "confusion.png").exists()
    assert found["test"]["single"]["accuracy"] == pytest.approx(
        np.trace(found["test"]["single"]["confusion"]) / 48
    )
    _, facts = load_task(tmp_path / "run" / "checkpoints" / "model.pt")
    seen = load_checkpoint(checkpoint)["facts"]["trained_on"]["fingerprint"]
    assert seen in facts["trained_on"]["members"]
    (probe,) = cls(weights=checkpoint, points=None, k=None, embedding=None, backbone_arg=(),
                   freeze_backbone=True, run_dir=tmp_path / "probe")  # fmt: skip
    network, _ = load_task(tmp_path / "probe" / "checkpoints" / "model.pt")
    before = load_checkpoint(checkpoint)["encoder"]
    assert all(torch.equal(v, before[n]) for n, v in network.encoder.state_dict().items())
    assert probe["frozen"]
    assert "LinearProbe" in repr(network)


def test_several_seeds_give_mean_and_deviation(cls, tmp_path, capsys):
    runs = cls(seeds=2, epochs=1)
    said = capsys.readouterr().out
    written = json.loads((tmp_path / "run" / "summary.json").read_text())
    values = [run["test"]["single"]["accuracy"] for run in runs]
    assert written["mean"]["single"]["accuracy"]["per_seed"] == values
    assert written["mean"]["single"]["accuracy"]["std"] == pytest.approx(np.std(values))
    assert "seeds 0, 1" in said
    assert "±" in said
    assert [run["seed"] for run in runs] == [0, 1]
    # a finished run is read, not trained again
    assert cls(seeds=2, epochs=1) == runs
    assert "is finished: its results are read" in capsys.readouterr().out


def test_few_labels(cls):
    (found,) = cls(label_fraction=0.01, batch_size=None, epochs=1)
    assert found["train"] == 16  # one of each class, and so none to hold out
    assert found["validation"] is None
    assert any("too few labels" in note for note in found["notes"])
    assert any("batch 16 instead of 32" in note for note in found["notes"])


def test_what_is_held_out():
    labels = np.array([0] * 10 + [1] * 5 + [2])
    rows = np.arange(16)
    train, val = held_out(rows, labels, 0.2, seed=0)
    assert sorted([*train, *val]) == list(rows)
    assert np.bincount(labels[val], minlength=3).tolist() == [2, 1, 0]
    assert not np.array_equal(val, held_out(rows, labels, 0.2, seed=1)[1])
    assert len(held_out(np.array([0, 15]), labels, 0.5, seed=0)[1]) == 0
    for share in (0.05, 0.5, 0.75, 0.9):  # every class is trained on, and validated where it can be
        train, val = held_out(rows, labels, share, seed=0)
        assert set(labels[train]) == {0, 1, 2}
        assert set(labels[val]) == {0, 1}
        assert sorted([*train, *val]) == list(rows)


@pytest.mark.parametrize("name", list(CLS))
def test_presets_of_classification(name, cls):
    config = filled(FinetuneClsConfig(protocol=name), CLS[name])
    wanted = {
        "strict": ("adamw", 1e-3, 100, 0.2, False),
        "dgcnn": ("sgd", 0.1, 250, 0.2, True),
        "point-mae": ("adamw", 5e-4, 300, 0.0, False),
    }[name]
    assert wanted == (
        config.optimizer, config.lr, config.epochs, config.smoothing, config.decay_all,
    )  # fmt: skip
    assert config.batch_size == 32
    assert config.points == 1024
    (found,) = cls(protocol=name, epochs=1)
    assert bool(found["caveats"]) == (name != "strict")


def test_wrong_options(cls, partseg, tmp_path):
    with pytest.raises(UsageError, match="did you mean 'chair'"):
        partseg(class_choice="chiar")
    clouds = write_clouds(tmp_path / "clouds", per_class=4, pictures=False)
    with pytest.raises(UsageError, match="no part labels"):
        partseg(data="folder", data_root=clouds, size=None)
    with pytest.raises(UsageError, match="a mixture is for pretraining"):
        cls(data="concat:shapes+primitives", size=None)
    cls(epochs=1)
    with pytest.raises(UsageError, match=r"--lr 0\.001 then, 0\.1 now"):
        cls(epochs=1, lr=0.1)


def words(run_dir, cache, task="cls", **changes):
    options = {**SMALL, **(TINY_CLS if task == "cls" else TINY_SEG), **changes}
    options |= {"run_dir": run_dir, "cache_dir": cache}
    return ["finetune", task, *flags(options)]


def test_killed_and_continued(cache, tmp_path):
    """With validation and dropout: the same weights, the same best epoch, the same results."""
    changes = {"batch_size": 2, "epochs": 3, "dropout": 0.3, "save_every": 1}
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    done = pointssl(*words(whole, cache, **changes))
    assert done.returncode == 0, done.stderr
    last = killed / "checkpoints" / "last.pt"

    def in_the_second_epoch():
        if not last.exists():
            return False
        progress = load_checkpoint(last)["progress"]
        return progress["epoch"] >= 1 and progress["step"] >= 2

    with started(*words(killed, cache, **changes)) as process:
        wait_until(in_the_second_epoch, process)
        process.kill()
        process.wait()
    assert not (killed / "results.json").exists()
    done = pointssl(*words(killed, cache, **changes))
    assert done.returncode == 0, done.stderr
    a, b = (load_checkpoint(run / "checkpoints" / "model.pt") for run in (whole, killed))
    for name, value in a["method"].items():
        assert torch.equal(value, b["method"][name]), name
    one, two = (
        json.loads((run / "results.json").read_text())["results"] for run in (whole, killed)
    )
    assert {**one, "checkpoint": ""} == {**two, "checkpoint": ""}


@pytest.mark.parametrize("task", ["cls", "partseg"])
def test_two_processes_equal_one(task, cache, tmp_path):
    """The same batches and statistics, and an evaluation in which no shape counts twice."""
    changes = {"dropout": 0.0, "sync_bn": True, "epochs": 2, "size": 49, "val_share": 0.3,
               "optimizer": "sgd", "lr": 0.01, "clip_grad": 1e6, "votes": 2}  # fmt: skip
    found = []
    for ranks in (None, 2):
        run = tmp_path / str(ranks)
        done = pointssl(*words(run, cache, task, **changes), ranks=ranks)
        assert done.returncode == 0, done.stderr
        assert_no_traceback(done.stderr)
        assert done.stdout.count("results: ") == 1
        found.append((json.loads((run / "results.json").read_text())["results"], run))
    (one, first), (two, second) = found
    assert one["test"]["shapes"] == two["test"]["shapes"] == 49
    for a, b in zip(read_metrics(first), read_metrics(second), strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-3)
    kind = one["test"].get("headline", "single")
    score = "instance_miou" if task == "partseg" else "accuracy"
    assert one["test"][kind][score] == pytest.approx(two["test"][kind][score], abs=0.025)


def test_classes_are_counted_once_whatever_the_batch(cache):
    from pointssl.backbones.dgcnn import DGCNN
    from pointssl.engine.distributed import World
    from pointssl.tasks.classification import Classification

    data = load_dataset("shapes", None, "test", points=32, size=23, cache_dir=cache)
    torch.manual_seed(0)
    task = Classification(DGCNN(k=4, embedding=16, channels=(8, 8)), classes=16).eval()
    world = World(0, 0, 1, torch.device("cpu"))
    found = [
        evaluate_classes(task, data, np.arange(23), world, batch_size=size) for size in (1, 7, 64)
    ]
    assert found[0] == found[1] == found[2]
    assert found[0]["shapes"] == 23
    said = [int(task.logits(data[i]["xyz"][None]).argmax()) for i in range(23)]
    matrix = np.zeros((16, 16), int)
    np.add.at(matrix, (data.labels, said), 1)
    assert found[0]["single"]["confusion"] == matrix.tolist()
