"""What every task must do, and how their parameters are grouped for the optimiser."""

from functools import partial

import pytest
import torch
from tiny import PointMlp
from torch import nn

import pointssl
from pointssl.backbones.dgcnn import DGCNN
from pointssl.backbones.dgcnn_seg import DGCNNSeg
from pointssl.checkpoints.file import save_checkpoint
from pointssl.engine.optimizer import build_optimizer, layer_numbers, parameter_groups
from pointssl.heads import PointHead
from pointssl.tasks.classification import Classification
from pointssl.tasks.loading import build_task, load_task
from pointssl.tasks.segmentation import PointSegmentation
from pointssl_datasets.base.errors import UsageError, UserError

BACKBONES = {
    "dgcnn": partial(DGCNN, k=4, embedding=16, channels=(8, 8)),
    "dgcnn_seg": partial(DGCNNSeg, k=4, embedding=16, channels=8),
    "mlp": PointMlp,
}
TASKS = {
    "cls": partial(Classification, classes=5, hidden=(8, 6)),
    "linear": partial(Classification, classes=5, head="linear"),
    "parts": partial(PointSegmentation, parts=5, categories=3, hidden=(8, 8, 6)),
    "uninformed": partial(PointSegmentation, parts=5, hidden=(8, 6), dropout=(0.0, 0.5)),
}
each = pytest.mark.parametrize("backbone", BACKBONES)
every = pytest.mark.parametrize("task", TASKS)


def make(backbone, task, **changes):
    torch.manual_seed(0)
    return TASKS[task](BACKBONES[backbone](), **changes)


def batch_of(dtype=torch.float32, clouds=6, points=20):
    data = torch.Generator().manual_seed(1)
    return {
        "xyz": torch.randn(clouds, points, 3, generator=data, dtype=torch.float64).to(dtype),
        "label": torch.arange(clouds) % 3,
        "part": torch.randint(0, 5, (clouds, points), generator=data),
        "index": torch.arange(clouds),
    }


@each
@every
def test_a_step(backbone, task):
    network = make(backbone, task).train()
    outputs = network(batch_of())
    assert outputs["loss"].shape == ()
    assert torch.isfinite(outputs["loss"])
    assert 0 <= float(outputs["accuracy"]) <= 1
    outputs["loss"].backward()
    without = [n for n, p in network.named_parameters() if p.grad is None]
    assert not without


@each
@every
def test_a_frozen_encoder_stays_as_it_was(backbone, task):
    network = make(backbone, task, freeze_backbone=True).train()
    before = {name: value.clone() for name, value in network.encoder.state_dict().items()}
    network(batch_of())["loss"].backward()
    groups = parameter_groups(network, weight_decay=0.1)
    build_optimizer(groups, "adamw", 0.1, weight_decay=0.1, momentum=0.9).step()
    assert not network.encoder.training
    assert all(p.grad is None for p in network.encoder.parameters())
    for name, value in network.encoder.state_dict().items():
        assert torch.equal(value, before[name]), name


@each
@every
def test_logits(backbone, task):
    network = make(backbone, task).eval()
    batch = batch_of()
    logits = network.logits(batch["xyz"], None, batch["label"])
    assert logits.shape == ((6, 5) if task in ("cls", "linear") else (6, 20, 5))
    alone = network.logits(batch["xyz"][2:3], None, batch["label"][2:3])
    assert torch.allclose(alone, logits[2:3], atol=1e-5)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(2))
    turned = network.logits(batch["xyz"][:, order], None, batch["label"])
    wanted = logits if logits.dim() == 2 else logits[:, order]
    assert torch.allclose(turned, wanted, atol=1e-5)


def test_the_category_matters_and_must_be_given():
    network = make("dgcnn_seg", "parts").eval()
    xyz = batch_of()["xyz"]
    first = network.logits(xyz, None, torch.zeros(6, dtype=torch.int64))
    second = network.logits(xyz, None, torch.ones(6, dtype=torch.int64))
    assert not torch.allclose(first, second)
    with pytest.raises(UserError, match="category"):
        network.logits(xyz)


@pytest.mark.parametrize("categories", [0, 3])
def test_point_head_against_the_concatenation(categories):
    """The first layer on every point's whole vector: slow and obvious."""
    torch.manual_seed(0)
    head = PointHead(7, 5, 4, categories=categories, hidden=(8, 6), dropout=(0.0, 0.0)).double()
    points, cloud = torch.randn(3, 9, 5).double(), torch.randn(3, 7).double()
    onehot = torch.eye(3).double() if categories else None
    found = head(points, cloud, onehot)
    whole = cloud if onehot is None else torch.cat((cloud, head.category(onehot)), dim=1)
    rows = torch.cat((whole[:, None].expand(-1, 9, -1), points), dim=2).flatten(0, 1)
    twin = nn.functional.leaky_relu(
        nn.functional.batch_norm(
            rows @ head.first.weight.t(), None, None, head.norm.weight, head.norm.bias, True
        ),
        0.2,
    )
    twin = head.out(head.layers[0](twin.view(3, 9, 8)))
    assert torch.allclose(found, twin, atol=1e-12)


def test_layers_are_counted_from_the_input():
    numbers = layer_numbers(BACKBONES["dgcnn"]())
    assert numbers["edge_convs.0.linear.weight"] == 0
    assert numbers["edge_convs.1.norm.bias"] == 1
    assert numbers["last.linear.weight"] == 2


def test_a_module_may_spare_a_matrix_of_weight_decay():
    small = {"depth": 1, "taps": (1,), "groups": 4, "group_size": 4, "embedding": 16}
    network = nn.Module()
    network.encoder = pointssl.build_encoder("mamba", **small)
    names = {id(p): name for name, p in network.named_parameters()}
    for decay_all in (True, False):
        groups = parameter_groups(network, weight_decay=0.05, decay_all=decay_all)
        spared = {names[id(p)] for g in groups if not g["weight_decay"] for p in g["params"]}
        assert ("encoder.blocks.0.mixer.log_rates" in spared) == (not decay_all)
        assert "encoder.blocks.0.mixer.into.weight" not in spared


def test_groups_of_layers_head_and_decay():
    network = make("dgcnn", "cls")
    groups = parameter_groups(
        network, weight_decay=0.05, decay_all=False, layer_decay=0.5, head_scale=4.0
    )
    found = {}
    names = {id(p): name for name, p in network.named_parameters()}
    for group in groups:
        for parameter in group["params"]:
            found[names[id(parameter)]] = (group["lr_scale"], group["weight_decay"])
    assert set(found) == set(names.values())
    assert found["encoder.edge_convs.0.linear.weight"] == (0.125, 0.05)
    assert found["encoder.edge_convs.1.norm.weight"] == (0.25, 0.0)
    assert found["encoder.last.linear.weight"] == (0.5, 0.05)
    assert found["head.out.weight"] == (4.0, 0.05)
    assert found["head.out.bias"] == (4.0, 0.0)
    whole = parameter_groups(network, weight_decay=0.05)
    assert [(g["lr_scale"], g["weight_decay"]) for g in whole] == [(1.0, 0.05)]


def facts_of(task, **changes):
    return {
        "task": task,
        "task_args": {"classes": 5} if task == "cls" else {"parts": 5, "categories": 3},
        "backbone": "dgcnn",
        "backbone_args": {"k": 4, "embedding": 16, "channels": [8, 8]},
        "classes": list("abcde" if task == "cls" else "abc"),
        "parts": list("pqrst"),
        "points": 16,
        "normals": False,
        "normalise": "none",
        **changes,
    }


@pytest.mark.parametrize("task", ["cls", "partseg"])
def test_a_checkpoint_gives_the_network_back(task, tmp_path):
    facts = facts_of(task)
    network = build_task(facts).eval()
    content = {"encoder": network.encoder.state_dict(), "facts": facts}
    save_checkpoint(tmp_path / "model.pt", {**content, "method": network.state_dict()})
    again, found = pointssl.load_task(tmp_path / "model.pt")
    assert found == facts
    assert not again.training
    batch = batch_of()
    before, after = (n.logits(batch["xyz"], None, batch["label"]) for n in (network, again))
    assert torch.equal(before, after)
    encoder = pointssl.load_encoder(tmp_path / "model.pt")
    assert torch.equal(encoder(batch["xyz"]).cloud, network.encoder(batch["xyz"]).cloud)


def test_what_is_no_network_is_refused(tmp_path):
    facts = facts_of("cls")
    network = build_task(facts)
    encoder = network.encoder.state_dict()
    pretraining = {k: v for k, v in facts.items() if k != "task"}
    for changes, said in (
        ({"facts": pretraining}, "without a head"),
        ({"facts": {**facts, "task": "dance"}}, "not a checkpoint of `pointssl finetune`"),
        ({"facts": {**facts, "task_args": {"classes": 6}, "classes": list("abcdef")}}, "not fit"),
        ({"facts": {k: v for k, v in facts.items() if k != "points"}}, "lacks points"),
        ({"facts": facts, "method": None}, "not a checkpoint of `pointssl finetune`"),
    ):
        content = {"encoder": encoder, "method": network.state_dict(), **changes}
        save_checkpoint(tmp_path / "model.pt", content)
        with pytest.raises(UserError, match=said):
            load_task(tmp_path / "model.pt")


def test_neighbour_channels_must_exist():
    with pytest.raises(UsageError, match="channels 0 to 2"):
        DGCNNSeg(k=4, neighbour_channels=[6, 7, 8])
