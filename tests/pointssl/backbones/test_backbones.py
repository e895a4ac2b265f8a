"""What every backbone must do. A new one is tested as soon as it is named in BACKBONES."""

import inspect

import pytest
import torch
from small_backbones import SMALL, VARIANTS, K, small
from torch import Tensor, nn

from pointssl.backbones import BACKBONES
from pointssl.backbones.build import build_encoder
from pointssl.engine.optimizer import layer_numbers
from pointssl.features.layers import layer_outputs
from pointssl_datasets.base.errors import UserError

pytestmark = pytest.mark.parametrize("name", [*BACKBONES, *VARIANTS])
POINTS = 40


def build(name: str, **arguments) -> nn.Module:
    backbone, small_arguments = small(name, **arguments)
    encoder = build_encoder(backbone, seed=0, **small_arguments)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():  # as after some training: nothing is zero or one
        for parameter in encoder.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm1d):
            with torch.no_grad():
                module.weight.normal_(generator=generator)
                module.bias.normal_(generator=generator)
                module.running_mean.normal_(0, 0.1, generator=generator)
                module.running_var.uniform_(0.5, 2, generator=generator)
    return encoder


def clouds(count: int = 3, points: int = POINTS, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(count, points, 3, generator=generator, dtype=dtype)


@pytest.mark.parametrize("training", [True, False])
def test_shapes(name: str, training: bool):
    encoder = build(name).train(training)
    features = encoder(clouds(dtype=torch.float32))
    assert features.cloud.shape == (3, encoder.cloud_dim)
    assert features.points.shape == (3, POINTS, encoder.point_dim)
    assert features.cloud.dtype == torch.float32
    assert features.cloud.isfinite().all()


def test_every_argument_has_a_plain_default(name: str):
    backbone, arguments = small(name)
    parameters = inspect.signature(type(build(name))).parameters
    assert "in_channels" in parameters
    assert parameters["in_channels"].default == 3
    assert set(arguments) <= set(parameters)
    for parameter in parameters.values():
        assert isinstance(parameter.default, (int, float, bool, str, tuple)), parameter
    assert SMALL.keys() == BACKBONES.keys(), backbone


def test_the_cloud_feature_reaches_every_parameter(name: str):
    """Contrastive pretraining uses it alone: under DDP no parameter may be left out."""
    encoder = build(name).double()
    encoder(clouds()).cloud.square().sum().backward()
    assert [key for key, p in encoder.named_parameters() if p.grad is None] == []


def test_layers_are_features_of_points_with_places(name: str):
    encoder = build(name).eval()
    xyz = clouds(dtype=torch.float32)
    assert encoder.layers
    for layer, found in layer_outputs(encoder, encoder.layers, xyz).items():
        assert found.xyz is not None, layer
        assert found.features.shape[:2] == found.xyz.shape[:2], layer
        apart = torch.cdist(found.xyz.double(), xyz.double())
        assert apart.amin(-1).max() < 1e-3, layer  # places are points of the cloud


def test_every_parameter_and_the_input_get_a_gradient(name: str):
    encoder, xyz = build(name).double(), clouds().requires_grad_()
    cloud, points = encoder(xyz)
    (cloud.square().sum() + points.square().sum()).backward()
    for key, parameter in encoder.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
        assert float(parameter.grad.abs().max()) > 0, key
    assert float(xyz.grad.abs().max()) > 0


def test_layers_are_numbered_as_they_are_passed(name: str):
    """What layer decay relies on: the deeper a layer, the higher its number.

    A T-Net counts as one layer, wherever it stands.
    """
    encoder = build(name)
    numbers = layer_numbers(encoder)
    called: list[str] = []
    own = {place: [k for k, _ in module.named_parameters(place, recurse=False)]
           for place, module in encoder.named_modules()}  # fmt: skip

    def watch(place: str):
        return lambda module, inputs: called.append(place)

    for place, module in encoder.named_modules():
        if own[place] and place:
            module.register_forward_pre_hook(watch(place))
    encoder(clouds(dtype=torch.float32))
    once = [place for place in called if called.count(place) == 1 and "transform" not in place]
    passed = [numbers[key] for place in once for key in own[place]]
    assert passed == sorted(passed), list(zip(once, passed, strict=False))
    assert set(numbers.values()) == set(range(max(numbers.values()) + 1))


def test_state_dict_round_trip(name: str):
    encoder = build(name).double()
    encoder(clouds())  # moves the running statistics
    backbone, arguments = small(name)
    other = build_encoder(backbone, seed=5, **arguments).double()
    other.load_state_dict(encoder.state_dict())
    for ours, theirs in zip(encoder.eval()(clouds()), other.eval()(clouds()), strict=True):
        assert torch.equal(ours, theirs)


def test_float32_is_near_float64(name: str):
    encoder = build(name).eval()
    narrow = encoder(clouds().float())
    wide = encoder.double()(clouds())
    for ours, exact in zip(narrow, wide, strict=True):
        assert (
            float(((ours - exact).norm() / exact.norm()).detach()) < 1e-2
        )  # near-equal neighbours may flip


@pytest.mark.parametrize("training", [True, False])
def test_order_of_the_points(name: str, training: bool):
    xyz = clouds()
    order = torch.randperm(POINTS, generator=torch.Generator().manual_seed(3))
    cloud, points = build(name).double().train(training)(xyz)
    other_cloud, other_points = build(name).double().train(training)(xyz[:, order])
    assert torch.allclose(other_points, points[:, order], rtol=1e-8, atol=1e-10)
    assert torch.allclose(other_cloud, cloud, rtol=1e-8, atol=1e-10)


def test_clouds_do_not_mix_in_evaluation(name: str):
    encoder = build(name).double().eval()
    together = encoder(clouds())
    for i in range(3):
        alone = encoder(clouds()[i : i + 1])  # a batch of one
        assert torch.allclose(alone.cloud[0], together.cloud[i], rtol=1e-9, atol=1e-11)
        assert torch.allclose(alone.points[0], together.points[i], rtol=1e-9, atol=1e-11)


def test_normals(name: str):
    encoder = build(name, in_channels=6).double().eval()
    xyz = clouds()
    normals = torch.nn.functional.normalize(xyz.flip(1), dim=-1)
    one, other = encoder(xyz, normals).cloud, encoder(xyz, -normals).cloud
    assert one.shape == (3, encoder.cloud_dim)
    assert not torch.allclose(one, other)


def test_wrong_channels(name: str):
    xyz = clouds(dtype=torch.float32)
    with pytest.raises(UserError, match="takes 3 channels per point, the data have 6"):
        build(name)(xyz, xyz)
    with pytest.raises(UserError, match="takes 6 channels per point, the data have 3"):
        build(name, in_channels=6)(xyz)


def test_fewer_points_than_neighbours(name: str):
    if "k" not in small(name)[1]:  # a network that needs no neighbours takes a single point
        assert build(name).eval()(clouds(points=1, dtype=torch.float32)).cloud.isfinite().all()
        return
    with pytest.raises(UserError, match=rf"{K - 1} points have fewer than k = {K}"):
        build(name)(clouds(points=K - 1, dtype=torch.float32))
    assert build(name)(clouds(points=K, dtype=torch.float32)).points.shape[1] == K


def test_inference_mode_gives_the_same(name: str):
    encoder = build(name).double().eval()
    with torch.inference_mode():
        fast = encoder(clouds())
    slow = encoder(clouds())
    assert slow.cloud.requires_grad
    assert torch.allclose(fast.cloud, slow.cloud, rtol=1e-10)
    assert torch.allclose(fast.points, slow.points, rtol=1e-10)
