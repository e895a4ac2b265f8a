"""Point Transformer against the outputs of qq456cvb/Point-Transformers, through the zoo's keys."""

import inspect
from pathlib import Path

import pytest
import torch
from golden import load, load_golden, pick, relative
from point_transformer_twin import Twin, random_weights
from shared import needs_shared
from torch import Tensor, nn

from pointssl.backbones import point_transformer
from pointssl.backbones.build import build_encoder
from pointssl.checkpoints.encoder import load_encoder
from pointssl.checkpoints.zoo.opening import open_checkpoint
from pointssl.checkpoints.zoo.recognise import below, recognise
from pointssl.ops.gather import flat_index
from pointssl.ops.neighbours import knn
from pointssl.ops.packed import pack

# Biases whose effect the next norm or softmax takes away have a gradient of zero but for rounding.
ZERO = 1e-3


def head(*widths: int) -> nn.Sequential:
    """Three linear layers with ReLUs between, as all its heads are."""
    first, second, third, last = widths
    return nn.Sequential(
        nn.Linear(first, second), nn.ReLU(), nn.Linear(second, third), nn.ReLU(),
        nn.Linear(third, last),
    )  # fmt: skip


@needs_shared
@pytest.mark.parametrize(
    ("file", "name", "family", "layers"),
    [
        ("point_transformer_cls", "fc2", "point-transformer-cls", head(128, 256, 64, 40)),
        ("point_transformer_seg", "fc3", "point-transformer-partseg", head(32, 64, 64, 50)),
    ],
)
def test_network(file: str, name: str, family: str, layers: nn.Sequential):
    golden = {key: value.double() for key, value in load_golden(file).items()}
    weights = {k.removeprefix("weights."): v for k, v in golden.items() if k.startswith("weights.")}
    found = recognise(weights, Path(file))
    assert found.family.name == family
    assert found.left == {name: 6}  # the head is left, and nothing else
    assert found.arguments == {
        "k": 16, "embedding": 48, "blocks": 2, "in_channels": golden["points"].shape[2],
        **({"decoder": True} if name == "fc3" else {}),
    }  # fmt: skip
    arguments = {**found.arguments, "k": 8, "start": "first"}
    encoder = build_encoder("point_transformer", **arguments).double()
    load(encoder, found.weights)
    layers.double()
    load(layers, pick(golden, "weights", head_keys(layers, name), torch.float64))
    keys = {k: found.prefix + v for k, v in found.family.keys(below(weights, found.prefix)).items()}

    def logits() -> Tensor:
        cloud, points = encoder(golden["points"][..., :3], golden["points"][..., 3:])
        return layers(points if name == "fc3" else cloud)

    encoder.eval()
    with torch.no_grad():
        assert relative(logits(), golden["eval.logits"]) < 1e-5
    encoder.train()
    out = logits()
    assert relative(out, golden["train.logits"]) < 1e-4
    (out * golden["cotangent.logits"]).sum().backward()

    compared = 0
    for module, table in ((encoder, keys), (layers, head_keys(layers, name))):
        gradients = pick(golden, "grad", table, torch.float64)
        assert set(gradients) == {key for key, _ in module.named_parameters()}
        for key, parameter in module.named_parameters():
            if key.endswith("bias") and float(gradients[key].abs().max()) < ZERO:
                assert float(parameter.grad.abs().max()) < ZERO, key
            else:
                assert relative(parameter.grad, gradients[key]) < 2e-3, key
        for key, value in pick(golden, "after", table, torch.float64).items():
            assert relative(module.state_dict()[key], value) < 1e-4, key
            compared += 1
    assert compared == sum("running" in key for key in keys)


def head_keys(layers: nn.Module, name: str) -> dict[str, str]:
    return {key: f"{name}.{key}" for key, _ in layers.named_parameters()}


def test_attention_in_blocks_equals_the_formula(monkeypatch: pytest.MonkeyPatch):
    torch.manual_seed(0)
    block = point_transformer.VectorAttention(5, 7).double()
    xyz, x = torch.randn(2, 11, 3).double(), torch.randn(2, 11, 5).double()
    idx = knn(xyz, 4)
    monkeypatch.setattr(point_transformer, "BLOCK", 4 * 4 * 7 * 3)  # three rows, the last one: one
    parts = block(x, *point_transformer._edges(xyz, idx))
    gradient = torch.autograd.grad(parts.square().sum(), list(block.parameters()))

    query, key, value = (layer(block.into(x)) for layer in (block.query, block.key, block.value))
    for b, i in [(b, i) for b in range(2) for i in range(11)]:
        edges, values = [], []
        for j in idx[b, i].tolist():
            place = block.place(xyz[b, i] - xyz[b, j])
            edges.append(block.weigh(query[b, i] - key[b, j] + place) / 7**0.5)
            values.append(value[b, j] + place)
        total = sum(edge.exp() for edge in edges)
        y = sum(edge.exp() / total * v for edge, v in zip(edges, values, strict=True))
        assert torch.allclose(parts[b, i], x[b, i] + block.back(y))

    monkeypatch.undo()
    whole = block(x, *point_transformer._edges(xyz, idx))
    assert len(flat_index(idx)) < point_transformer._step(x.flatten(0, 1), flat_index(idx))
    for ours, other in zip(
        gradient, torch.autograd.grad(whole.square().sum(), list(block.parameters())), strict=True
    ):
        assert torch.allclose(ours, other, atol=1e-12)


def test_scenes_equal_a_slow_twin_with_public_weights(tmp_path: Path):
    widths, depths = [8, 16, 24], [1, 2, 1]
    weights = random_weights(6, widths, depths, share=4, classes=13)
    path = tmp_path / "model_best.pth"
    torch.save({"epoch": 3, "state_dict": {f"module.{k}": v for k, v in weights.items()}}, path)
    imported = open_checkpoint(path)["facts"]["imported"]
    assert imported["family"] == "point-transformer-s3dis"
    assert imported["left"] == {"cls": 8}  # two linear layers and a norm
    encoder = load_encoder(path, k=4, first_k=3, start="first").double()
    twin = Twin(weights, neighbours=[3, 4, 4], share=4)

    generator = torch.Generator().manual_seed(1)
    clouds = [torch.randn(n, 6, generator=generator, dtype=torch.float64) for n in (70, 95)]
    rows, offsets = pack(clouds)
    with torch.no_grad():
        features = encoder(rows[:, :3], rows[:, 3:], offsets)
    points = features.points.split([70, 95])
    for i, cloud in enumerate(clouds):
        mean, decoded = twin(cloud[:, :3], cloud[:, 3:])
        assert relative(features.cloud[i], torch.cat((mean, decoded.amax(0)))) < 1e-9
        assert relative(points[i], decoded) < 1e-9


def test_published_arguments():
    """What the shapes of the published network for rooms say are our defaults."""
    weights = random_weights(6, [32, 64, 128, 256, 512], [1, 2, 3, 5, 2], share=8, classes=13)
    found = recognise(weights, Path("model_best.pth"))
    encoder = build_encoder("point_transformer_packed", in_channels=6, decoder=True)
    assert found.left == {"cls": 8}
    load(encoder, found.weights)
    theirs = inspect.signature(type(encoder)).parameters
    for name, value in found.arguments.items():
        default = theirs[name].default
        changed = {"in_channels": 6, "decoder": True}.get(name)
        assert value == (changed or (list(default) if isinstance(default, tuple) else default))
