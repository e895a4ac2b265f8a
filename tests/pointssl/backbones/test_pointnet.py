"""PointNet against a slow twin under public key names, through the zoo."""

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from golden import load
from public_layers import Weights, add, linear, norm, parameters
from torch import Tensor

from pointssl.backbones.build import build_encoder
from pointssl.checkpoints.zoo.recognise import recognise
from pointssl_datasets.base.errors import UsageError

# family: prefix, channels, after which of them features are transformed, the head's layers
FORMS = {
    "pointnet-cls": ("feat.", (64, 128, 1024), 1, {"fc": (1024, 512, 256, 40)}),
    "pointnet-s3dis": ("feat.", (64, 128, 1024), 1, {"conv": (1088, 512, 256, 128, 13)}),
    "pointnet-partseg": (
        "", (64, 128, 128, 512, 2048), 3, {"convs": (4944, 256, 256, 128, 50)}
    ),
}  # fmt: skip


def add_tnet(weights: Weights, name: str, before: int, size: int) -> None:
    widths = (before, 64, 128, 1024, 512, 256)
    for i in range(1, 6):
        kind, number = ("conv", i) if i < 4 else ("fc", i - 3)
        add(weights, f"{name}.{kind}{number}", f"{name}.bn{i}", widths[i - 1], widths[i], i < 4)
    add(weights, f"{name}.fc3", None, 256, size * size)


def public(family: str, in_channels: int) -> Weights:
    under, channels, after, head = FORMS[family]
    weights: Weights = {}
    add_tnet(weights, f"{under}stn", in_channels, 3)
    add_tnet(weights, f"{under}fstn", channels[after - 1], channels[after - 1])
    for i, (a, b) in enumerate(zip((in_channels, *channels), channels, strict=False), 1):
        add(weights, f"{under}conv{i}", f"{under}bn{i}", a, b, 1)
    for name, widths in head.items():
        for i, (a, b) in enumerate(pairwise(widths), 1):
            bn = f"bn{name[4:]}{i}" if i < len(widths) - 1 else None
            add(weights, f"{name}{i}", bn, a, b, name != "fc")
    return weights


def tnet(weights: Weights, name: str, x: Tensor, training: bool) -> Tensor:
    for i in (1, 2, 3):
        x = norm(weights, f"{name}.bn{i}", linear(weights, f"{name}.conv{i}", x), training).relu()
    x = x.max(2).values
    for i in (1, 2):
        x = norm(weights, f"{name}.bn{i + 3}", linear(weights, f"{name}.fc{i}", x), training).relu()
    x = linear(weights, f"{name}.fc3", x)
    size = round(x.shape[1] ** 0.5)
    return x.view(-1, size, size) + torch.eye(size)


def pointnet(family: str, weights: Weights, x: Tensor, training: bool) -> tuple[Tensor, Tensor]:
    """``(B, C, N)`` to the pooled feature, and all layers' before the last ``(B, N, ...)``."""
    under, channels, after, *_ = FORMS[family]
    turn = tnet(weights, f"{under}stn", x, training)
    x = torch.cat([torch.einsum("bcn,bcd->bdn", x[:, :3], turn), x[:, 3:]], dim=1)
    outputs = []
    for i in range(1, len(channels) + 1):
        x = norm(weights, f"{under}bn{i}", linear(weights, f"{under}conv{i}", x), training)
        if i < len(channels):
            x = x.relu()
            outputs.append(x.mT)
        if i == after:
            turn = tnet(weights, f"{under}fstn", x, training)
            x = torch.einsum("bcn,bcd->bdn", x, turn)
    return x.max(2).values, torch.cat(outputs, dim=-1)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("in_channels", [3, 6])
@pytest.mark.parametrize("family", FORMS)
def test_equals_the_twin(family: str, in_channels: int, training: bool):
    weights = public(family, in_channels)
    found = recognise(weights, Path(family))
    assert found.family.name == family
    head = sum(k.rpartition(".")[0] in HEAD_LAYERS[family] for k in weights)
    counters = sum(k.split(".")[0] in HEAD_LAYERS[family] and "num_b" in k for k in weights)
    assert sum(found.left.values()) == head - counters  # the head is left, and nothing else
    encoder = build_encoder("pointnet", **found.arguments).double().train(training)
    load(encoder, found.weights)

    x = torch.randn(4, 20, in_channels, generator=torch.Generator().manual_seed(0)).double()
    x.requires_grad_()
    ours = encoder(x[..., :3], x[..., 3:])
    twin = pointnet(family, weights, x.mT, training)
    for one, other in zip(ours, twin, strict=True):
        assert torch.allclose(one, other, rtol=1e-8, atol=1e-8 * float(other.detach().abs().max()))
        (grad,) = torch.autograd.grad(one.sin().sum(), x, retain_graph=True)
        (expected,) = torch.autograd.grad(other.sin().sum(), x, retain_graph=True)
        assert torch.allclose(grad, expected, rtol=1e-6, atol=1e-8 * float(expected.abs().max()))


def _head_layers(family: str) -> set[str]:
    ((name, widths),) = FORMS[family][3].items()
    numbers = range(1, len(widths))
    return {f"{name}{i}" for i in numbers} | {f"bn{name[4:]}{i}" for i in numbers}


HEAD_LAYERS = {family: _head_layers(family) for family in FORMS}


def test_a_file_without_a_feature_transform():
    """As other code with these key names has it."""
    weights = {k: v for k, v in public("pointnet-cls", 3).items() if "fstn" not in k}
    found = recognise(weights, Path("pointnet"))
    assert found.arguments["feature_transform"] is False
    load(build_encoder("pointnet", **found.arguments), found.weights)


def test_as_many_parameters_as_published():
    """3.47 million, with its head."""
    assert round(parameters(public("pointnet-cls", 3)) / 1e6, 2) == 3.47


def test_a_t_net_is_initially_the_identity():
    encoder = build_encoder("pointnet", seed=0)
    x = torch.randn(2, 9, 3)
    assert torch.equal(encoder.align(x), torch.eye(3).expand(2, 3, 3))


def test_the_t_net_does_not_transform_normals():
    """The T-Net sees them, the matrix is for coordinates alone."""
    encoder = build_encoder("pointnet", seed=0, in_channels=6, feature_transform=False).eval()
    xyz, normals = torch.randn(2, 2, 9, 3)
    turn = torch.tensor([[0.0, 1, 0], [-1, 0, 0], [0, 0, 1]])
    with torch.no_grad():
        encoder.align.matrix.bias.copy_((turn - torch.eye(3)).flatten())
        turned = encoder(xyz, normals).cloud
        encoder.align.matrix.bias.zero_()
        assert torch.allclose(encoder(xyz @ turn, normals).cloud, turned, atol=1e-5)


@pytest.mark.parametrize("after", [3, 9])
def test_no_such_layer_to_transform_after(after: int):
    with pytest.raises(UsageError, match=f"transform_after {after}: expected 1 to 2"):
        build_encoder("pointnet", transform_after=after)
