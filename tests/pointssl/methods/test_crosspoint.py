"""The CrossPoint objective, from its pieces."""

import copy

import pytest
import torch
from tiny import PictureNet
from torch import Tensor

from pointssl.backbones.build import build_encoder
from pointssl.images.resnet import resnet18
from pointssl.losses import nt_xent
from pointssl.methods.crosspoint import CrossPoint


def method(image_encoder: str | None = "tiny", in_channels: int = 3, **options) -> CrossPoint:
    torch.manual_seed(0)
    encoder = build_encoder("dgcnn", k=5, embedding=16, channels=(8, 8), in_channels=in_channels)
    make_images = {None: lambda: None, "tiny": PictureNet, "resnet18": resnet18}[image_encoder]
    torch.manual_seed(1)
    images = make_images()
    torch.manual_seed(2)
    return CrossPoint(
        encoder, images, projection=8, point_hidden=16, image_hidden=16, **options
    ).double()


def batch(count: int = 4) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    shapes = {"xyz1": (40, 3), "xyz2": (40, 3), "image": (3, 32, 32)}
    return {
        name: torch.rand(count, *shape, generator=generator, dtype=torch.float64)
        for name, shape in shapes.items()
    }


def test_loss_from_its_pieces():
    model, data = method(within_weight=0.3, cross_weight=2.0, temperature=0.2), batch()
    pieces = copy.deepcopy(model)
    outputs = model(data)
    both = torch.cat((data["xyz1"], data["xyz2"]))
    z = pieces.head(pieces.encoder(both).cloud)
    z1, z2 = z[:4], z[4:]
    z_image = pieces.image_head(pieces.image_encoder(data["image"]))
    within = nt_xent(z1, z2, 0.2)
    cross = nt_xent((z1 + z2) / 2, z_image, 0.2)
    assert torch.allclose(outputs["loss_within"], within.loss)
    assert torch.allclose(outputs["loss_cross"], cross.loss)
    assert torch.allclose(outputs["loss"], 0.3 * within.loss + 2 * cross.loss)
    assert torch.equal(outputs["retrieval_within"], within.retrieval)
    assert torch.equal(outputs["retrieval_cross"], cross.retrieval)
    assert outputs["negatives"] == 6
    assert 0 < float(outputs["embedding_std"]) < 2


@pytest.mark.parametrize("images", ["tiny", "resnet18"])
def test_every_parameter_gets_a_gradient(images: str):
    model = method(images)
    model(batch())["loss"].backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        # a bias in front of a batch norm has none, but for rounding
        assert name == "head.0.bias" or float(parameter.grad.abs().max()) > 0, name


def test_weight_of_zero_takes_a_term_away():
    data = batch()
    outputs = method(cross_weight=0.0)(data)
    assert torch.equal(outputs["loss"], outputs["loss_within"])
    outputs = method(within_weight=0.0)(data)
    assert torch.equal(outputs["loss"], outputs["loss_cross"])


def test_points_only():
    model, data = method(None), batch()
    del data["image"]
    outputs = model(data)
    assert not any("cross" in name for name in outputs)
    assert not any("image" in name for name in model.state_dict())
    assert torch.equal(outputs["loss"], outputs["loss_within"])
    outputs["loss"].backward()
    assert all(p.grad is not None for p in model.parameters())
    assert torch.allclose(outputs["loss"], method()(batch())["loss_within"])


def test_frozen_image_encoder_does_not_move():
    model = method(freeze_image=True).train()
    before = copy.deepcopy(model.image_encoder.state_dict())
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    head = model.image_head[0].weight.detach().clone()
    for _ in range(2):
        optimizer.zero_grad()
        model.train()(batch())["loss"].backward()
        optimizer.step()
    for name, value in model.image_encoder.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert not any(p.requires_grad for p in model.image_encoder.parameters())
    assert not torch.equal(model.image_head[0].weight, head)
    assert model.encoder.training
    assert not model.image_encoder.training


def test_unfrozen_image_encoder_moves():
    model = method().train()
    before = model.image_encoder.norm.running_mean.clone()
    model(batch())
    assert not torch.equal(model.image_encoder.norm.running_mean, before)


def test_normals_reach_the_encoder():
    model, data = method(None, in_channels=6), batch()
    data |= {"feats1": data["xyz1"].flip(-1), "feats2": data["xyz2"].flip(-1)}
    loss = copy.deepcopy(model)(data)["loss"]
    data["feats1"] = -data["feats1"]
    assert not torch.allclose(model(data)["loss"], loss)
