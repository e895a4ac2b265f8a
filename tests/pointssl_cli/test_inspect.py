"""`pointssl inspect` as a user runs it."""

import json

import numpy as np
import pytest
import torch
from in_process import refused, worked
from networks import save_encoder, save_task
from PIL import Image
from processes import pointssl
from small_backbones import SMALL

from pointssl.checkpoints.file import load_checkpoint, save_checkpoint
from pointssl.config.tools import InspectConfig
from pointssl.recipes.inspect import choose
from pointssl_datasets.base.errors import UsageError

QUICK = ("--clouds", 3, "--passes", 1, "--threads", 1, "--no-progress", "--device", "cpu")


@pytest.fixture(autouse=True)
def _threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def inspect(capfd, cache, tmp_path):
    """``pointssl inspect WORDS``: what it printed, and what is in inspect.json."""

    def call(*words):
        words = ("inspect", *QUICK, "--cache-dir", cache, "--out", tmp_path / "out", *words)
        printed = worked(capfd, *words)
        return printed, json.loads((tmp_path / "out" / "inspect.json").read_text())

    return call


@pytest.fixture
def refuse(capfd, cache, tmp_path):
    def call(code, *words):
        words = ("inspect", *QUICK, "--cache-dir", cache, "--out", tmp_path / "out", *words)
        line = refused(capfd, code, *words)
        assert not (tmp_path / "out").exists()
        return line

    return call


def is_drawn(path):
    values = np.asarray(Image.open(path).convert("RGB"))
    return min(values.shape[:2]) > 100 and (values < 250).any(-1).mean() > 0.003


def test_a_checkpoint(inspect, tmp_path):
    path = save_encoder(tmp_path / "last.pt")
    printed, told = inspect(path)
    (network,) = told["networks"]
    assert (network["backbone"], network["backbone_args"]["k"], told["points"]) == ("dgcnn", 4, 32)
    assert "k = 4" in printed
    rows = {row["name"]: row for row in network["modules"]}
    assert list(rows) == ["", "edge_convs.0", "edge_convs.1", "last"]
    assert rows[""]["in"] == [[3, 32, 3]]
    weights = load_checkpoint(path)["encoder"]
    learned = sum(w.numel() for key, w in weights.items() if not key.endswith(
        ("running_mean", "running_var", "num_batches_tracked")))  # fmt: skip
    assert network["totals"]["parameters"] == rows[""]["parameters"] == learned
    assert network["totals"]["multiply_adds_per_cloud"] == rows[""]["multiply_adds"] / 3
    assert list(network["layers"]) == ["edge_convs.0", "edge_convs.1", "last"]
    for row in network["layers"].values():
        assert 1 < row["rank"] < 16
    assert len(set(told["clouds"])) == 3
    assert is_drawn(tmp_path / "out" / "layers.png")
    assert list((tmp_path / "out" / "tensorboard").glob("events*"))
    for name in ("inspect.json", "layers.png", "tensorboard"):
        assert str(tmp_path / "out" / name) in printed
    again, told_again = inspect(path, "--depth", 0)
    assert "  edge_convs.0  EdgeConv" in printed
    assert "EdgeConv" not in again
    assert told_again["networks"][0]["layers"] == network["layers"]
    assert inspect(path, "--seed", 1)[1]["clouds"] != told["clouds"]


def test_a_backbone_and_a_fine_tuned_network(inspect, tmp_path):
    printed, told = inspect("--backbone", "dgcnn_seg", "--k", 3, "--points", 40, "--embedding", 8)
    (network,) = told["networks"]
    assert (network["name"], told["points"]) == ("random init", 40)
    assert network["backbone_args"]["k"] == 3
    assert "dgcnn_seg, random" in printed
    printed, _ = inspect(save_task(tmp_path / "model.pt", "cls"))
    assert "fine-tuned with labels" in printed
    printed, told = inspect("tiny:PointMlp")  # which names no layers
    assert list(told["networks"][0]["layers"]) == ["linear", "dropout"]
    assert "k = 1" in printed


def test_attention_is_told(inspect):
    for name, module in (("patch_transformer", "blocks.0.attention"), ("pct", "attentions.0")):
        arguments = [f"{key}={json.dumps(value)}" for key, value in SMALL[name].items()]
        words = [word for pair in arguments for word in ("--backbone-arg", pair)]
        printed, told = inspect("--backbone", name, *words, "--points", 64)
        (network,) = told["networks"]
        found = network["attention"][module]
        assert 0 < found["mean"] <= found["uniform"] + 1e-5
        places = network["layers"][module.removesuffix(".attention")]["places"]
        assert found["uniform"] == pytest.approx(np.log(places))
        assert f"of {found['uniform']:.2f}" in printed


def test_two_networks_side_by_side(inspect, tmp_path):
    path = save_encoder(tmp_path / "last.pt")
    other = save_encoder(tmp_path / "other.pt", backbone="dgcnn_seg", points=64, normals=True)
    printed, told = inspect("--compare", path, other)
    assert f"{other}: dgcnn_seg" in printed
    assert "pretrained with points = 64, evaluated with 32" in printed
    first, second = told["networks"]
    assert first["modules"][0]["in"] == [[3, 32, 3]]
    assert second["modules"][0]["in"] == [[3, 32, 3], [3, 32, 3]]  # with normals
    found = told["cka"]
    assert found["rows"] == 96
    assert found["layers"] == [list(first["layers"]), list(second["layers"])]
    assert np.array(found["both"]).shape == (3, 4)
    assert np.array(found["both"]).max() < 1
    for part in ("first", "second"):
        np.testing.assert_allclose(np.diag(found[part]), 1)
        np.testing.assert_allclose(found[part], np.transpose(found[part]))
    for name in ("layers_a.png", "layers_b.png", "cka.png"):
        assert is_drawn(tmp_path / "out" / name)
        assert str(tmp_path / "out" / name) in printed

    _, told = inspect("--compare", path, "random")
    assert [network["name"] for network in told["networks"]] == ["pretrained", "random init"]
    assert told["networks"][1]["backbone_args"] == told["networks"][0]["backbone_args"]
    assert np.diag(told["cka"]["both"]).max() < 0.999
    few = ("--k", 4, "--embedding", 8, "--points", 32)
    _, told = inspect("--compare", "dgcnn", "random", *few)
    assert np.diag(told["cka"]["both"]).max() < 0.999  # another random one


def test_a_collapsed_network_is_called_so(inspect, tmp_path):
    path = save_encoder(tmp_path / "last.pt")
    content = load_checkpoint(path)
    content["encoder"]["last.linear.weight"].zero_()
    content["encoder"]["last.norm.bias"].fill_(1)
    save_checkpoint(path, content)
    printed, told = inspect("--compare", path, "random")
    assert "COLLAPSED: the features of last are" in printed
    last = told["networks"][0]["layers"]["last"]
    assert last["rank"] == pytest.approx(1, abs=0.01)
    assert last["spread"] == pytest.approx(0, abs=1e-5)
    assert told["cka"]["both"][2] == [None] * 3


def test_broken_weights_say_where_it_begins(refuse, tmp_path):
    path = save_encoder(tmp_path / "last.pt")
    content = load_checkpoint(path)
    content["encoder"]["edge_convs.1.norm.running_var"][0] = torch.nan
    save_checkpoint(path, content)
    line = refuse(1, path)
    assert (
        "not finite. The first such are of edge_convs.1 (EdgeConv), from input that still is"
        in line
    )
    assert "norm.running_var" in line


def test_mistakes_are_one_line(refuse, tmp_path):
    path = save_encoder(tmp_path / "last.pt")
    foreign = tmp_path / "foreign.pt"
    foreign.write_text("weights")
    assert "nothing to inspect" in refuse(2)
    assert "absent.pt" in refuse(1, tmp_path / "absent.pt")
    assert "foreign.pt" in refuse(1, foreign)
    assert "did you mean 'dgcnn'" in refuse(2, "dgcn")
    assert "did you mean 'dgcnn'" in refuse(2, "--backbone", "dgcn")
    assert "has no argument 'layers'" in refuse(2, "dgcnn", "--backbone-arg", "layers=3")
    assert "32 points have fewer than k = 40" in refuse(1, path, "--k", 40)
    assert "--compare needs two networks, got 1" in refuse(2, path, "--compare")
    assert "2 networks: add --compare" in refuse(2, path, path)
    assert "give the checkpoint once" in refuse(2, path, "--weights", path)
    assert "is a backbone already" in refuse(2, "dgcnn", "--backbone", "pct")
    assert "--clouds 0: must be at least" in refuse(2, path, "--clouds", 0)
    assert "unknown dataset" in refuse(2, path, "--data", "nothing")
    assert "has no normals" in refuse(2, path, "--normals", "--data", "my_dataset:Tensors")


def test_out_must_be_a_folder(capfd, tmp_path):
    path = save_encoder(tmp_path / "last.pt")
    line = refused(capfd, 1, "inspect", path, *QUICK, "--out", path)
    assert "is a file: name a folder" in line


def test_it_is_not_for_many_processes(tmp_path):
    done = pointssl("inspect", save_encoder(tmp_path / "last.pt"), *QUICK, ranks=2)
    assert done.returncode != 0
    assert "one process" in done.stderr


def test_clouds_are_of_many_classes_and_depend_on_the_seed():
    labels = np.repeat(np.arange(5), 8)
    chosen = choose(labels, 5, seed=0)
    assert sorted(labels[chosen]) == [0, 1, 2, 3, 4]
    assert choose(labels, 5, seed=0) == chosen != choose(labels, 5, seed=1)
    assert sorted(np.bincount(labels[choose(labels, 12, seed=3)])) == [2, 2, 2, 3, 3]
    assert sorted(choose(labels, 99, seed=0)) == list(range(40))


def test_the_config_needs_two_to_compare():
    with pytest.raises(UsageError, match="got 0"):
        InspectConfig(compare=True)
