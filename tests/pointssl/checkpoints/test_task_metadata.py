"""A checkpoint from anywhere: what it says of its network is looked at before it is believed."""

import sys

import numpy as np
import pytest
import torch
from in_process import refused, worked
from networks import save_encoder, save_task
from torch import nn

import pointssl
from pointssl.backbones.base import Features
from pointssl.checkpoints.file import load_checkpoint, save_checkpoint
from pointssl.inference.network import load_network
from pointssl.tasks.loading import build_task
from pointssl_datasets.base.errors import UserError

HUGE = 10**10  # made, it would not fit and say that it can't be built


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The content of checkpoints by kind, and a folder with one cloud."""
    folder = tmp_path_factory.mktemp("facts")
    (folder / "in").mkdir()
    np.save(folder / "in" / "m.npy", np.random.default_rng(0).normal(size=(40, 3)))
    paths = {
        "encoder": save_encoder(folder / "encoder.pt"),
        "cls": save_task(folder / "cls.pt", "cls"),
        "partseg": save_task(folder / "partseg.pt", "partseg"),
        "semseg": save_task(folder / "semseg.pt", "semseg", normalise="none"),
    }
    return {"folder": folder, **{kind: load_checkpoint(path) for kind, path in paths.items()}}


def changed(saved, kind, path, *, without=(), args=None, encoder_args=None, **facts):
    """The checkpoint ``kind`` with other facts, at ``path``."""
    content = saved[kind]
    found = {**content["facts"], **facts}
    if args:
        found["task_args"] = {**found["task_args"], **args}
    if encoder_args:
        found["backbone_args"] = {**found["backbone_args"], **encoder_args}
    kept = {key: value for key, value in found.items() if key not in without}
    save_checkpoint(path, {**content, "facts": kept})
    return path


CASES = [
    # Facts of a head.
    ("cls", {"task": ["cls"]}, "not a checkpoint of `pointssl finetune`"),
    ("cls", {"task": None}, "not a checkpoint of `pointssl finetune`"),
    ("cls", {"task_args": None}, "task_args is None, expected arguments of the head by name"),
    ("cls", {"args": {"depth": 3}}, "unexpected keyword argument 'depth'"),
    ("cls", {"args": {"classes": "3"}}, "task_args: classes is '3', expected 3 as there are names"),
    ("cls", {"args": {"classes": -3}}, "classes is -3, expected 3"),
    ("cls", {"args": {"classes": True}, "classes": ["bed"]}, "classes is True, expected 1"),
    ("cls", {"args": {"classes": HUGE}}, f"classes is {HUGE}, expected 3"),
    ("cls", {"args": {"classes": 0}, "classes": []}, "classes is 0, expected 1"),
    ("cls", {"task_args": {}}, "task_args: classes is None, expected 3"),
    ("cls", {"args": {"hidden": 7}}, "hidden is 7, expected whole numbers"),
    ("cls", {"args": {"hidden": [HUGE, -1]}}, "hidden is [10000000000, -1], expected"),
    ("cls", {"args": {"hidden": [16000]}}, "does not fit this Classification"),
    ("cls", {"args": {"dropout": 9}}, "dropout is 9, expected a number from 0 to 1"),
    ("cls", {"args": {"dropout": float("nan")}}, "dropout is nan"),
    ("cls", {"args": {"head": "crown"}}, "head is 'crown', expected mlp or linear"),
    ("cls", {"args": {"slope": "steep"}}, "slope is 'steep', expected a number"),
    ("cls", {"args": {"smoothing": []}}, "smoothing is [], expected a number"),
    ("cls", {"args": {"freeze_backbone": 1}}, "freeze_backbone is 1, expected true or false"),
    ("cls", {"classes": 3}, "classes is 3, expected a list of names"),
    ("cls", {"classes": ["bed", "chair"]}, "classes is 3, expected 2"),
    ("cls", {"classes": ["bed", "chair", 3]}, "expected a list of names"),
    ("cls", {"parts": None}, "parts is None, expected a list of names"),
    ("partseg", {"args": {"parts": HUGE}}, "parts is 10000000000, expected 5"),
    ("partseg", {"parts": ["back", "seat"]}, "parts is 5, expected 2"),
    ("partseg", {"args": {"categories": 3}}, "categories is 3, expected 0, or 2"),
    ("partseg", {"args": {"categories": "2"}}, "categories is '2', expected 0, or 2"),
    ("partseg", {"category": "none"}, "category is none, and its head has 2 categories"),
    ("partseg", {"category": 7}, "category is 7, expected given or none"),
    ("partseg", {"args": {"dropout": [0.5]}}, "a dropout for each"),
    ("partseg", {"args": {"dropout": 0.5}}, "dropout is 0.5, expected numbers from 0 to 1"),
    ("partseg", {"args": {"hidden": [], "dropout": []}}, "at least one hidden layer"),
    ("partseg", {"parts_of": [[0, 1, 2], [3, 5]]}, "the numbers of its parts, from 0 to 4"),
    ("partseg", {"parts_of": [[0, 1, 2], [-1]]}, "the numbers of its parts, from 0 to 4"),
    ("partseg", {"parts_of": [[0, 1, 2], []]}, "the numbers of its parts, from 0 to 4"),
    ("partseg", {"parts_of": [[0, 1, 2]]}, "for each of 2 categories"),
    ("partseg", {"parts_of": 3}, "for each of 2 categories"),
    ("semseg", {"args": {"parts": 4}}, "parts is 4, expected 3"),
    ("semseg", {"without": ["block_size"]}, "block_size is None, expected a number from 0.01"),
    ("semseg", {"block_size": 0}, "block_size is 0, expected"),
    ("semseg", {"block_size": 1e-7}, "block_size is 1e-07, expected"),
    ("semseg", {"block_size": float("inf")}, "block_size is inf, expected"),
    ("semseg", {"block_size": "1"}, "block_size is '1', expected"),
    ("semseg", {"feats": ["normals"]}, "takes coordinates, colours and place"),
    ("semseg", {"without": ["feats"], "normals": True}, "takes coordinates, colours and place"),
    ("semseg", {"classes": ["hall"], "args": {"categories": 1}}, "and a category"),
    # Facts of any network.
    *(
        (kind, facts, said)
        for kind in ("cls", "encoder")
        for facts, said in (
            ({"backbone": None}, "backbone is None, expected a name"),
            ({"backbone_args": [1]}, "backbone_args is [1], expected arguments by name"),
            ({"backbone_args": {1: 2}}, "backbone_args is {1: 2}, expected arguments by name"),
            ({"encoder_args": {"embedding": HUGE}}, "does not fit"),
            ({"encoder_args": {"embedding": 10**30}}, "the network that it describes can't be"),
            ({"encoder_args": {"in_channels": -1}}, "w.pt: backbone 'dgcnn': in_channels = -1"),
            ({"points": "many"}, "points is 'many', expected a whole number from 1 to 10000000"),
            ({"points": 0}, "points is 0, expected"),
            ({"points": 10**12}, "points is 1000000000000, expected"),
            ({"normals": 1}, "normals is 1, expected true or false"),
            ({"normalise": 7}, "normalise is 7, expected unit-sphere or none"),
            ({"up_axis": "w"}, "up_axis is 'w', expected x, y or z"),
            ({"trained_on": "all"}, "trained_on is 'all', expected facts of the data"),
            ({"trained_on": {"members": 3}}, "trained_on is {'members': 3}, expected facts"),
            ({"trained_on": {"members": [[]]}}, "trained_on is {'members': [[]]}, expected"),
            ({"trained_on": {"fingerprint": []}}, "trained_on is {'fingerprint': []}, expected"),
        )
    ),
    ("cls", {"feats": ["foo"]}, "feats is ['foo'], expected some of normals, colours, place"),
    ("cls", {"feats": ["normals", "normals"]}, "expected some of normals"),
    ("cls", {"feats": 3}, "feats is 3, expected some of"),
]


@pytest.mark.parametrize(("kind", "change", "said"), CASES)
def test_facts_that_can_not_be_are_one_line(saved, tmp_path, capfd, kind, change, said):
    path = changed(saved, kind, tmp_path / "w.pt", **change)
    with pytest.raises(UserError) as error:
        load_network(path)
    line = refused(
        capfd, error.value.exit_code, "predict", saved["folder"] / "in", "--weights", path,
        "--out", tmp_path / "out", "--no-progress", "--device", "cpu",
    )  # fmt: skip
    assert str(path) in line
    assert said in line
    assert line.count(str(path)) == 1
    assert not (tmp_path / "out").exists()


def test_the_evaluations_and_python_look_too(saved, tmp_path, capfd):
    path = changed(saved, "encoder", tmp_path / "w.pt", encoder_args={"embedding": HUGE})
    with pytest.raises(UserError, match="does not fit"):
        pointssl.load_encoder(path)
    line = refused(capfd, 1, "eval-svm", "--data", "shapes", "--weights", path, "--out", tmp_path)
    assert f"{path} does not fit this DGCNN" in line


ODD = {
    "stretched": lambda tensor: torch.zeros(1).expand(tensor.shape),
    "sparse": lambda tensor: tensor.to_sparse(),
    "without numbers": lambda tensor: tensor.to("meta"),
    "no tensor": lambda tensor: tensor.tolist(),
}


@pytest.mark.parametrize("odd", ODD)
def test_only_plain_tensors_are_weights(saved, tmp_path, odd):
    content = saved["cls"]
    weights = {
        **content["method"],
        "head.out.weight": ODD[odd](content["method"]["head.out.weight"]),
    }
    save_checkpoint(tmp_path / "w.pt", {**content, "method": weights})
    with pytest.raises(UserError, match=r"1 no plain tensors \(head\.out\.weight\)"):
        load_network(tmp_path / "w.pt")


@pytest.mark.parametrize("kind", ["cls", "partseg", "semseg"])
@pytest.mark.parametrize("without", [(), ("feats",), ("parts_of", "category", "feats", "up_axis")])
def test_checkpoints_that_know_less_still_load(saved, tmp_path, kind, without):
    path = changed(saved, kind, tmp_path / "w.pt", without=without)
    network = load_network(path)
    for name, value in network.module.state_dict().items():
        assert torch.equal(value, saved[kind]["method"][name]), name
    assert network.channels == ()
    assert not network.module.training


class Needy(nn.Module):
    """A backbone whose constructor asks for the values of its tensors."""

    def __init__(self, layers=3):
        super().__init__()
        rates = [rate.item() for rate in torch.linspace(0, 0.1, layers)]
        self.cloud_dim = self.point_dim = 4
        self.layers = nn.Sequential(*(nn.Dropout(rate) for rate in rates), nn.Linear(3, 4))

    def forward(self, xyz, feats=None):
        points = self.layers(xyz)
        return Features(points.mean(1), points)


@pytest.fixture
def needy(monkeypatch):
    """The name of :class:`Needy`, as a user would have it."""
    monkeypatch.setitem(sys.modules, "needy_backbone", sys.modules[__name__])
    return "needy_backbone:Needy"


def test_a_backbone_that_can_not_do_without_numbers_loads(saved, tmp_path, capfd, needy):
    facts = {**saved["cls"]["facts"], "backbone": needy, "backbone_args": {"layers": 2}}
    task = build_task(facts)
    content = {"encoder": task.encoder.state_dict(), "method": task.state_dict(), "facts": facts}
    save_checkpoint(tmp_path / "w.pt", content)
    assert "written" in worked(
        capfd, "predict", saved["folder"] / "in", "--weights", tmp_path / "w.pt", "--out",
        tmp_path / "out", "--no-progress", "--device", "cpu", "--backbone", needy,
    )  # fmt: skip
    assert pointssl.load_encoder(tmp_path / "w.pt").cloud_dim == 4
    facts["backbone_args"] = {"layers": 2, "depth": 3}
    save_checkpoint(tmp_path / "w.pt", {**content, "facts": facts})
    with pytest.raises(UserError, match=r"w\.pt: backbone .* has no argument 'depth'"):
        pointssl.load_encoder(tmp_path / "w.pt")
