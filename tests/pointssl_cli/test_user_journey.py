"""One user, from nothing to a number: pretrain, extract, evaluate; alone and on two processes."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from in_process import refused, worked
from processes import pointssl
from tiny import flags

from pointssl.checkpoints.encoder import load_encoder
from pointssl.config.options import make, to_dict
from pointssl.config.pretrain import PretrainConfig
from pointssl.recipes.features import leakage_notes
from pointssl_cli.main import main
from pointssl_datasets.serving.dataset import load_dataset

DATA = {"data": "shapes", "size": 48}
MACHINE = {"device": "cpu", "threads": 1, "progress": False}
RUN = {
    "points": 64, "k": 4, "embedding": 16, "backbone_arg": ("channels=[8,8]",),
    "image_encoder": "resnet18", "image_size": 32, "views": 1, "projection": 8,
    "batch_size": 16, "epochs": 2,
}  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    before = torch.get_num_threads()
    yield tmp_path_factory.mktemp("journey")
    torch.set_num_threads(before)


def data_flags(place):
    return flags({**DATA, **MACHINE, "cache_dir": place / "cache"})


@pytest.fixture(scope="module")
def weights(place):
    """The journey's first step, for the tests below."""
    with pytest.raises(SystemExit) as end:
        main(["pretrain", *data_flags(place), *flags({**RUN, "run_dir": place / "run"})])
    assert end.value.code == 0
    return place / "run" / "checkpoints" / "last.pt"


def test_the_run_directory_is_whole_and_valid(capfd, place, weights):
    run = place / "run"
    assert {path.name for path in run.iterdir()} == {
        "checkpoints", "config.yaml", "environment.json", "results.json", "metrics.jsonl",
        "tensorboard", "loss_curves.png", "method.png",
    }  # fmt: skip
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["last.pt"]
    environment = json.loads((run / "environment.json").read_text())
    assert environment["versions"]["torch"] == torch.__version__
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2]
    assert all(np.isfinite(row["loss"]) and row["loss_cross"] > 0 for row in rows)
    assert (run / "loss_curves.png").read_bytes().startswith(b"\x89PNG")

    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(run / "tensorboard"))
    board.Reload()
    shown = [event.value for event in board.Scalars("loss")]
    assert np.allclose(shown, [row["loss"] for row in rows])

    # config.yaml is the command: read back it is the same run, which is finished.
    saved = run / "config.yaml"
    assert to_dict(make(PretrainConfig, {}, saved)) == yaml.safe_load(saved.read_text())
    before = weights.read_bytes()
    assert "is finished: 2 epochs" in worked(capfd, "pretrain", "--config", saved)
    assert weights.read_bytes() == before
    said = refused(capfd, 2, "pretrain", "--config", saved, "--lr", "0.5")
    assert "holds a run with other options (--lr 0.001 then, 0.5 now)" in said


def test_features_are_those_of_the_encoder_in_python(capfd, place, weights):
    out = place / "features"
    words = ["extract", *data_flags(place), "--weights", weights, "--out", out]
    assert "computed" in worked(capfd, *words)
    encoder = load_encoder(weights)
    for split in ("train", "test"):
        served = load_dataset("shapes", None, split, points=64, size=48, cache_dir=place / "cache")
        with torch.no_grad():
            expected = torch.stack([encoder(row["xyz"][None]).cloud[0] for row in served])
        with np.load(out / f"shapes_{split}.npz", allow_pickle=False) as found:
            assert found["features"].shape == (48, 32)
            np.testing.assert_allclose(found["features"], expected, rtol=1e-4, atol=1e-5)
            assert found["names"].tolist() == list(served.names)
            assert found["labels"].tolist() == served.labels.tolist()
            assert found["classes"].tolist() == list(served.classes)
    assert "computed" not in worked(capfd, *words)  # now they come from the cache


def test_the_second_evaluation_reads_the_cache_and_agrees(capfd, place, weights):
    words = ["eval-svm", *data_flags(place), "--weights", weights, "--seeds", 1]
    first = worked(capfd, *words, "--out", place / "first")
    again = worked(capfd, *words, "--out", place / "again")
    assert "random init, seed 0: computed" in first
    assert "computed" not in again
    assert again.count("read from the cache") == 4
    results = [
        json.loads((place / name / "results.json").read_text())["results"]
        for name in ("first", "again")
    ]
    assert results[0] == results[1]
    assert set(results[0]) == {"pretrained", "random init"}
    for result in results[0].values():
        assert 0 <= result["accuracy"]["mean"] <= 1
        assert not any("LEAKAGE" in note for note in result["notes"])
    assert (place / "first/confusion_pretrained.png").read_bytes().startswith(b"\x89PNG")

    changed = worked(capfd, *words, "--out", place / "k", "--k", 6, "--no-baseline")
    assert "pretrained with k = 4, evaluated with 6" in changed
    (result,) = json.loads((place / "k/results.json").read_text())["results"].values()
    assert "pretrained with k = 4, evaluated with 6" in result["notes"]

    words = [*words[:-2], "--no-baseline", "--protocol", "crosspoint"]
    printed = worked(capfd, *words, "--out", place / "crosspoint")
    assert "C was chosen by eye" in printed
    (result,) = json.loads((place / "crosspoint/results.json").read_text())["results"].values()
    assert (result["protocol"], result["c"], result["points"]) == ("crosspoint", [0.1], 1024)


@pytest.mark.parametrize("mixed", [False, True])
def test_an_encoder_that_has_seen_the_test_shapes_is_found_out(
    capfd, place, weights, tmp_path, mixed
):
    content = torch.load(weights, weights_only=True)
    served = load_dataset("shapes", None, "test", points=64, size=48, cache_dir=place / "cache")
    facts = served.facts()
    if mixed:  # as one member of a mixture
        facts = {**facts, "fingerprint": "of all", "members": ["another", facts["fingerprint"]]}
    content["facts"]["trained_on"] = facts
    torch.save(content, tmp_path / "seen.pt")
    words = ["eval-svm", *data_flags(place), "--weights", tmp_path / "seen.pt", "--seeds", 1]
    printed = worked(capfd, *words, "--no-baseline", "--out", tmp_path)
    assert "LEAKAGE: the encoder was pretrained on this test split" in printed
    (result,) = json.loads((tmp_path / "results.json").read_text())["results"].values()
    assert any("LEAKAGE" in note for note in result["notes"])


@pytest.mark.parametrize("backbone", ["dgcnn", "dgcnn_seg"])
def test_other_encoders_and_normals(capfd, place, tmp_path, backbone):
    arguments = ("channels=8",) if backbone == "dgcnn_seg" else ("channels=[8,8]",)
    given = {**RUN, "backbone": backbone, "backbone_arg": arguments, "image_encoder": "none"}
    given.update(epochs=1, normals=True, run_dir=tmp_path / "run")
    printed = worked(capfd, "pretrain", *data_flags(place), *flags(given))
    assert f"pretraining {backbone}" in printed
    path = tmp_path / "run" / "checkpoints" / "last.pt"
    words = ["extract", *data_flags(place), "--weights", path, "--split", "test"]
    worked(capfd, *words, "--out", tmp_path)
    with np.load(tmp_path / "shapes_test.npz") as found:
        assert found["features"].shape == (48, 16 if backbone == "dgcnn_seg" else 32)
        assert np.isfinite(found["features"]).all()
    assert load_encoder(path).in_channels == 6


def test_two_processes_extract_what_one_does(capfd, place, weights, tmp_path):
    words = ["extract", *data_flags(place), "--weights", weights, "--split", "test"]
    worked(capfd, *words, "--out", tmp_path / "one")
    for path in (place / "cache/features").iterdir():
        path.unlink()
    done = pointssl(*words, "--out", tmp_path / "two", ranks=2)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("computed") == 1
    with (
        np.load(tmp_path / "one/shapes_test.npz") as one,
        np.load(tmp_path / "two/shapes_test.npz") as two,
    ):
        np.testing.assert_allclose(one["features"], two["features"], rtol=1e-5, atol=1e-6)
        assert one["names"].tolist() == two["names"].tolist()


@pytest.mark.parametrize(
    ("trained_on", "tested_on", "seen"),
    [
        ({"fingerprint": "a"}, ("a", []), True),
        ({"fingerprint": "a+b", "members": ["a", "b"]}, ("b", []), True),
        ({"fingerprint": "a"}, ("a+b", ["a", "b"]), True),
        ({"fingerprint": "a+b", "members": ["a", "b"]}, ("b+c", ["b", "c"]), True),
        ({"fingerprint": "a+b", "members": ["a", "b"]}, ("c", []), False),
        (None, ("a", []), False),
    ],
)
def test_leakage_through_mixtures(trained_on, tested_on, seen):
    loaded = SimpleNamespace(trained_on=trained_on)
    about = {"fingerprints": {"test": tested_on[0]}, "members_of_test": tested_on[1]}
    assert bool(leakage_notes(loaded, about)) == seen
