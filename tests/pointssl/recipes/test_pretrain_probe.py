"""A probe during pretraining: what it says is true, and training takes no notice of it."""

import json
import shutil
import signal

import numpy as np
import pytest
import torch
import yaml
from in_process import refused
from probe_jobs import scores as scores_on_ranks
from processes import pointssl, run_ranks, started, wait_until
from same_run import last
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.neighbors import NearestCentroid
from tiny import flags, options, write_clouds

from pointssl.checkpoints.encoder import load_encoder
from pointssl.checkpoints.file import load_checkpoint
from pointssl.config.pretrain import PretrainConfig
from pointssl.engine import batch_size
from pointssl.engine.distributed import World
from pointssl.engine.stopping import Stopped
from pointssl.recipes.pretrain import make_method, run
from pointssl.recipes.pretrain_probe import BEST, in_evaluation, open_probe

ALONE = World(0, 0, 1, torch.device("cpu"))
PROBE = {"probe_every": 2, "probe": "my_probes:Centroids,cluster", "keep": "best"}
SHORT = {"epochs": 5, "image_encoder": "none"}  # 3 steps an epoch
DROPOUT = {"backbone": "tiny:PointMlp", "backbone_arg": ("dropout=0.5",), "k": 1}
CENTROIDS = "probe_Centroids_accuracy"


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Clouds with a train split alone: a probe that opens test fails."""
    root = write_clouds(tmp_path_factory.mktemp("data") / "clouds", pictures=False)
    shutil.rmtree(root / "test")
    return root


def pretrain(root, run_dir, **changes):
    return run(PretrainConfig(**options(root, run_dir, **{**SHORT, **changes})))


@pytest.fixture(scope="module")
def probed(root, tmp_path_factory):
    """The folder of a run with a probe, never interrupted; do not touch it."""
    run_dir = tmp_path_factory.mktemp("probed")
    pretrain(root, run_dir, **PROBE)
    return run_dir


def rows_of(run_dir):
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


def probe_rows(run_dir):
    """Epoch -> its scores."""
    rows = {
        row["epoch"]: {k: v for k, v in row.items() if k.startswith("probe")}
        for row in rows_of(run_dir)
    }
    assert len(rows) == len(rows_of(run_dir))
    return {epoch: found for epoch, found in rows.items() if found}


def assert_equal_tensors(first, second):
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


@pytest.mark.parametrize("network", [{}, DROPOUT], ids=["dgcnn", "dropout"])
def test_training_is_the_same_with_and_without_it(root, tmp_path, network):
    pretrain(root, tmp_path / "without", **network)
    pretrain(root, tmp_path / "with", **network, probe_every=1, probe="knn,svm,cluster,retrieval")
    with_, without = (load_checkpoint(last(tmp_path / name)) for name in ("with", "without"))
    assert_equal_tensors(with_["method"], without["method"])
    assert torch.equal(with_["random"][0]["cpu"], without["random"][0]["cpu"])
    for row, plain in zip(
        rows_of(tmp_path / "with")[1:], rows_of(tmp_path / "without"), strict=True
    ):
        for name in plain.keys() - {"seconds_per_step", "data_wait"}:
            assert row[name] == plain[name], name


def test_it_is_due_before_training_every_so_often_and_after_the_last_epoch(probed):
    found = probe_rows(probed)
    assert list(found) == [0, 2, 4, 5]
    keys = {CENTROIDS, "probe_cluster_nmi", "probe_cluster_ari"}
    for scores in found.values():
        assert set(scores) == keys
    assert rows_of(probed)[0].keys() == {"epoch", *keys}
    assert len({scores["probe_cluster_nmi"] for scores in found.values()}) > 1


def centroids_by_scikit_learn(config, encoder):
    """A cloud at a time through the encoder, and scikit-learn's classifier on its own folds."""
    dataset = open_probe(config, ALONE).dataset
    with torch.no_grad():
        clouds = [dataset[i]["xyz"][None] for i in range(len(dataset))]
        x = np.stack([encoder.eval()(cloud).cloud[0].numpy() for cloud in clouds])
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    return cross_val_score(NearestCentroid(), x, dataset.labels, cv=folds).mean()


def test_a_score_is_that_of_scikit_learn_on_the_encoder_of_the_epoch(root, probed):
    config = PretrainConfig(**options(root, probed, **SHORT, **PROBE))
    found = probe_rows(probed)
    initial = make_method(config, None).encoder
    assert found[0][CENTROIDS] == pytest.approx(centroids_by_scikit_learn(config, initial))
    final = load_encoder(last(probed))
    assert found[5][CENTROIDS] == pytest.approx(centroids_by_scikit_learn(config, final))
    best = load_encoder(probed / BEST)
    kept = load_checkpoint(probed / BEST)["kept"]["best"]
    assert kept["score"] == pytest.approx(centroids_by_scikit_learn(config, best))


def test_the_best_epoch_is_kept_beside_the_last(root, probed):
    found = probe_rows(probed)
    trained = {epoch: scores[CENTROIDS] for epoch, scores in found.items() if epoch}
    best = max(trained, key=lambda epoch: (trained[epoch], -epoch))  # the earlier of equals
    content = load_checkpoint(probed / BEST)
    kept = {"epoch": best, "score": trained[best], "by": "Centroids accuracy"}
    assert content["kept"]["best"] == load_checkpoint(last(probed))["kept"]["best"] == kept
    assert content["config"]["batch_size"] == 8
    assert yaml.safe_load((probed / "config.yaml").read_text())["keep"] == "best"


def test_best_means_best_and_not_latest(root, tmp_path, monkeypatch):
    values = iter([0.5, 0.2, 0.8, 0.8, 0.3])  # of epochs 0 to 4
    monkeypatch.setattr(
        "pointssl.recipes.pretrain_probe.cross_validate", lambda *a: {"accuracy": next(values)}
    )
    pretrain(root, tmp_path / "a", epochs=4, probe_every=1, keep="best", schedule="constant")
    assert load_checkpoint(tmp_path / "a" / BEST)["kept"]["best"]["epoch"] == 2
    pretrain(root, tmp_path / "b", epochs=2, schedule="constant")
    at_2, best = load_checkpoint(last(tmp_path / "b")), load_checkpoint(tmp_path / "a" / BEST)
    assert_equal_tensors(best["method"], at_2["method"])


def test_stopped_after_every_step_it_ends_the_same(root, tmp_path, probed):
    for _ in range(40):
        try:
            pretrain(root, tmp_path, **PROBE, max_time=0.0)
            break
        except Stopped:
            continue
    assert_same_probe(tmp_path, probed)


def test_killed_and_started_again_it_ends_the_same(root, tmp_path, probed):
    words = ["pretrain", *flags(options(root, tmp_path, **{**SHORT, **PROBE}))]
    with started(*words) as process:
        wait_until(lambda: (tmp_path / BEST).exists(), process)
        process.send_signal(signal.SIGKILL)
        process.wait()
    done = pointssl(*words)
    assert done.returncode == 0, done.stderr
    assert_same_probe(tmp_path, probed)


def assert_same_probe(run_dir, other):
    assert probe_rows(run_dir) == probe_rows(other)
    for path in (last(run_dir), run_dir / BEST):
        content, expected = (load_checkpoint(p) for p in (path, other / path.relative_to(run_dir)))
        assert_equal_tensors(content["method"], expected["method"])
        assert content["kept"] == expected["kept"]


def test_a_run_that_begins_leaves_out_what_an_earlier_one_wrote(root, tmp_path):
    tmp_path.joinpath("metrics.jsonl").write_text('{"epoch": 0, "probe_knn_accuracy": -1.0}\n')
    pretrain(root, tmp_path, epochs=1, probe_every=1)
    assert [row["epoch"] for row in rows_of(tmp_path)] == [0, 1]
    assert rows_of(tmp_path)[0]["probe_knn_accuracy"] >= 0


def test_two_ranks_give_the_scores_of_one(root, tmp_path):
    given = options(root, tmp_path / "run", **SHORT, probe_every=1, probe="knn,retrieval,cluster")
    (alone,) = run_ranks(scores_on_ranks, 1, tmp_path / "1", given)
    both = run_ranks(scores_on_ranks, 2, tmp_path / "2", given)
    assert both[0] == both[1]
    assert both[0]["scores"] == pytest.approx(alone["scores"], abs=1e-6)
    assert both[0]["buffers_same"]
    assert both[0]["training"]


def test_two_processes_train_with_a_probe(root, tmp_path):
    words = flags(options(root, tmp_path, **{**SHORT, **PROBE, "epochs": 1}))
    done = pointssl("pretrain", *words, ranks=2)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("epoch 0, random initialisation: Centroids accuracy 0.") == 1
    assert list(probe_rows(tmp_path)) == [0, 1]
    assert (tmp_path / BEST).exists()


def test_the_encoder_is_given_back_as_it_was():
    network = torch.nn.Sequential(
        torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Dropout(0.5)
    )
    network.train()
    network[1].eval()  # as a frozen part of a network stays
    before = {name: value.clone() for name, value in network.state_dict().items()}
    state = torch.get_rng_state()
    with in_evaluation(network, ALONE):
        assert not any(module.training for module in network.modules())
        network[1].running_mean.add_(1.0)
        torch.rand(3)
    assert [module.training for module in network] == [True, False, True]
    assert_equal_tensors(network.state_dict(), before)
    assert torch.equal(torch.get_rng_state(), state)


def test_its_scores_are_drawn_and_shown_by_tensorboard(probed):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(probed / "tensorboard"))
    board.Reload()
    shown = {event.step: event.value for event in board.Scalars(CENTROIDS)}
    expected = {epoch: scores[CENTROIDS] for epoch, scores in probe_rows(probed).items()}
    assert shown == pytest.approx(expected)
    assert (probed / "loss_curves.png").read_bytes().startswith(b"\x89PNG")


def test_the_curves_have_a_panel_for_each_score(root, tmp_path, monkeypatch):
    seen = {}
    monkeypatch.setattr(
        "pointssl.reports.figures.pretraining.loss_curves",
        lambda rows, path, watch: seen.update(watch),
    )
    pretrain(root, tmp_path, epochs=1, probe_every=1, probe="cluster")
    assert seen["probe_cluster_nmi"] == "cluster NMI"
    assert seen["probe_cluster_ari"] == "cluster ARI"


def test_another_dataset_with_points_of_its_own(root, tmp_path, capsys):
    changes = {"probe_data": "shapes", "probe_size": 48, "probe_points": 40}
    pretrain(root, tmp_path, epochs=1, probe_every=1, **changes)
    assert "probe: knn on 48 labelled train clouds of shapes, 3-fold" in capsys.readouterr().out
    given = options(root, tmp_path, **SHORT, probe_every=1, **changes, skip_list=root / "skip.tsv")
    probe = open_probe(PretrainConfig(**given), ALONE)  # that list is of the other data
    assert (probe.dataset.name, probe.dataset.points) == ("shapes", 40)


def test_clouds_without_a_class_are_left_out(root, tmp_path):
    loose = tmp_path / "loose" / "train"
    loose.mkdir(parents=True)
    for path in (root / "train" / "bed").iterdir():
        shutil.copy(path, loose)
    given = options(root, tmp_path, **SHORT, probe_every=1)
    given["data"] = f"concat:folder+folder@{loose.parent}"
    probe = open_probe(PretrainConfig(**given), ALONE)
    assert len(probe.dataset) == 32
    assert len(probe.labelled) == 24
    assert (probe.dataset.labels[probe.labelled] >= 0).all()


@pytest.fixture(scope="module")
def odd(root, tmp_path_factory):
    """Folders whose classes can't be probed, by name."""
    places = {}
    for name, keep in (
        ("one class", lambda path: path.parent.name == "bed"),
        ("one of each", lambda path: path.stem == "m0"),
        ("one of a class", lambda path: path.parent.name != "bed" or path.stem == "m0"),
    ):
        places[name] = tmp_path_factory.mktemp("odd") / "clouds"
        for path in root.rglob("*.npy"):
            if "cache" not in path.parts and keep(path):
                place = places[name] / path.relative_to(root)
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, place)
    return places


@pytest.mark.parametrize(
    ("code", "changes", "said"),
    [
        (2, {"probe": "knm"}, "unknown probe 'knm', did you mean 'knn'?"),
        (2, {"probe": ","}, "--probe: name at least one"),
        (2, {"probe_data": "shapez"}, "did you mean 'shapes'?"),
        (2, {"probe_every": 0, "keep": "best"}, "--keep best needs --probe-every"),
        (2, {"probe_every": 0, "probe_data": "shapes"}, "--probe-data shapes needs --probe-every"),
        (2, {"keep": "bset"}, "did you mean 'best'?"),
        (2, {"probe_every": -1}, "--probe-every -1: must be at least 0"),
        (1, {"probe_points": 3}, "fewer than k = 4 neighbours"),
        (
            1,
            {"probe_data": "primitives", "probe_size": 8},
            "--probe-data primitives: it has no labels",
        ),
        (1, {"probe": "fewshot"}, "--probe fewshot on folder: 5-way 10-shot can't be"),
        (1, {"probe_root": "one class"}, "every train cloud is of the class bed"),
        (1, {"probe_root": "one of each"}, "each of 3 classes has one train cloud"),
        (1, {"probe_root": "absent"}, "absent"),
    ],
)
def test_mistakes_are_one_line(capfd, root, odd, tmp_path, code, changes, said):
    given = options(root, tmp_path / "run", **{**SHORT, "probe_every": 1, **changes})
    if "probe_root" in given:
        given["probe_root"] = odd.get(given["probe_root"], tmp_path / given["probe_root"])
    assert said in refused(capfd, code, "pretrain", *flags(given))
    assert not last(tmp_path / "run").exists()


def test_a_class_with_one_cloud_is_noted(root, odd, tmp_path, capsys):
    pretrain(root, tmp_path, epochs=1, probe_every=1, probe_root=odd["one of a class"])
    printed = capsys.readouterr().out
    assert "note: probe: 1 classes have one train shape each" in printed
    assert list(probe_rows(tmp_path)) == [0, 1]


def test_other_probes_are_another_run(root, tmp_path):
    pretrain(root, tmp_path, epochs=1, probe_every=1)
    config = {"epochs": 1, "probe_every": 2}
    with pytest.raises(Exception, match="--probe-every 1 then, 2 now"):
        pretrain(root, tmp_path, **config)


def test_a_try_of_a_batch_size_has_no_probe(root, tmp_path, monkeypatch):
    asked = []

    def answer(command, input, **others):
        asked.append(json.loads(input)["options"])
        return type("Done", (), {"returncode": 0, "stdout": '{"peak": 1}', "stderr": ""})

    monkeypatch.setattr(batch_size.subprocess, "run", answer)
    config = PretrainConfig(**options(root, tmp_path, **SHORT, **PROBE))
    batch_size.try_batch(config, 4, tmp_path, None, "pointssl.recipes.pretrain:run")
    assert asked[0]["probe_every"] == 0
    PretrainConfig(**{**asked[0], "backbone_arg": ()})  # is valid
