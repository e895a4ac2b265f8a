"""Point Transformer against the outputs of qq456cvb/Point-Transformers, through the zoo's keys."""

from pathlib import Path

import pytest
import torch
from golden import load, load_golden, pick, relative
from shared import needs_shared
from torch import Tensor, nn

from pointssl.encoders import build_encoder
from pointssl.zoo.recognise import below, recognise

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
