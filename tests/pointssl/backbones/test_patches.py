"""Patches, the blocks on them and what masked pretraining will ask of the trunks."""

import pytest
import torch
import torch.nn.functional as F
from small_backbones import small

from pointssl.backbones.build import build_encoder
from pointssl.backbones.mamba import _mean_over_orders
from pointssl.backbones.patch_transformer import Attention, Block
from pointssl.backbones.patches import DropPath, MiniPointNet, drop_path_rates
from pointssl.engine.optimizer import layer_numbers
from pointssl.ops.gather import take_rows
from pointssl.ops.serialise import serial_orders
from pointssl_datasets.base.errors import UsageError

NAMES = ["patch_transformer", "patch_transformer with a class token", "mamba"]


def build(name, **changes):
    backbone, arguments = small(name, **changes)
    return build_encoder(backbone, seed=0, **arguments)


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("training", [True, False])
def test_mini_pointnet_concatenates_the_maximum(training):
    """The third layer written out, on the maximum and the point side by side."""
    net = MiniPointNet(3, 12).train(training)
    groups = randn(2, 5, 7, 3)
    x = net.linear2(F.relu(net.norm1(net.linear1(groups.view(-1, 3))))).view(10, 7, 256)
    x = torch.cat((x.max(1, keepdim=True).values.expand_as(x), x), dim=-1).flatten(0, 1)
    expected = net.linear4(F.relu(net.norm2(net.linear3(x)))).view(2, 5, 7, 12).max(2).values
    assert torch.allclose(net(groups), expected, atol=1e-5)


def test_groups_are_relative_in_space_alone():
    patches = build("patch_transformer", in_channels=5).patches
    x = randn(2, 40, 5).double()
    groups, centres = patches.group(x)
    assert groups.shape == (2, 8, 6, 5)
    assert (groups[..., :3].norm(dim=-1).amin(2) < 1e-6).all()  # the centre is in its group
    for cloud in range(2):
        back = torch.cat((groups[cloud, 0, :, :3] + centres[cloud, 0], groups[cloud, 0, :, 3:]), 1)
        assert torch.cdist(back, x[cloud]).amin(1).max() < 1e-5


def test_the_weights_are_those_of_the_fused_attention():
    attention = Attention(12, 3, 0.0, 0.0).eval()
    x = randn(2, 5, 12)
    weights = attention.weights(x)
    assert weights.shape == (2, 3, 5, 5)
    assert torch.allclose(weights.sum(-1), torch.ones(2, 3, 5))
    values = attention.qkv(x).view(2, 5, 3, 3, 4)[:, :, 2].transpose(1, 2)
    expected = attention.proj((weights @ values).transpose(1, 2).flatten(2))
    assert torch.allclose(attention(x), expected, atol=1e-6)


def test_both_kinds_of_residual():
    plain = Block(8, 2, residual_scale=2.0).eval()
    normed = Block(8, 2, residual_scale=2.0, normed_residual=True).eval()
    normed.load_state_dict(plain.state_dict())
    x = 3 * randn(1, 5, 8)

    def outer(y):
        return plain.linear2(F.gelu(plain.linear1(y)))

    y = x + plain.attention(plain.norm1(x)) / 2
    assert torch.allclose(plain(x), y + outer(plain.norm2(y)) / 2, atol=1e-6)
    first = plain.norm1(x)
    second = plain.norm2(first + plain.attention(first) / 2)
    assert torch.allclose(normed(x), second + outer(second) / 2, atol=1e-6)


def test_drop_path():
    drop, x = DropPath(0.25), torch.ones(4000, 2, 3)
    torch.manual_seed(0)
    found = drop(x)
    torch.manual_seed(0)
    assert torch.equal(drop(x), found)  # of torch's own generator, as dropout
    assert (found == found[:, :1, :1]).all()  # a cloud's branch as a whole
    assert found.unique().tolist() == [0, pytest.approx(4 / 3)]
    assert float(found.mean()) == pytest.approx(1, abs=0.03)
    assert drop.eval()(x) is x
    assert drop_path_rates(0.3, 4) == pytest.approx([0, 0.1, 0.2, 0.3])
    assert drop_path_rates(0.3, 1) == [0]


@pytest.mark.parametrize("name", NAMES)
def test_the_embedding_is_the_first_layer_and_every_block_one(name):
    encoder = build(name, depth=4)
    numbers = layer_numbers(encoder)
    last = 1 if name == "mamba" else 0  # the two norms, or one
    blocks = {numbers[key] for key in numbers if key.startswith("blocks.")}
    assert len(blocks) == 4
    assert {numbers[key] for key in numbers if "patches" in key or "token" in key} == {0}
    assert max(numbers.values()) == max(blocks) + 1 + last


@pytest.mark.parametrize("name", NAMES[:2])
def test_visible_tokens_of_a_mask(name):
    """Masked pretraining gives the trunk some of the groups: hidden ones are not looked at."""
    encoder = build(name).eval()
    groups, centres = encoder.patches.group(randn(2, 40, 3))
    seen = torch.tensor([[0, 3, 4], [1, 2, 7]])
    tokens, positions = encoder.patches.embed(groups), encoder.patches.position(centres)
    (last,) = encoder.trunk(take_rows(tokens, seen), take_rows(positions, seen))
    assert last.shape == (2, 3 + encoder.class_token, 16)
    groups[0, 1] += 1  # hidden
    again = encoder.patches.embed(groups)
    assert torch.equal(encoder.trunk(take_rows(again, seen), take_rows(positions, seen))[0], last)


def test_tokens_are_averaged_over_orders():
    centres = randn(2, 9, 3)
    for order in ("xyz", "hilbert"):
        orders = serial_orders(centres, order)
        places = take_rows(centres, orders).flatten(1, 2)
        assert torch.allclose(_mean_over_orders(places, orders), centres, atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"depth": 2, "taps": [1, 3]}, r"taps \[1, 3\]: expected some of the blocks 1 to 2"),
        ({"drop_path": 1.0}, "drop_path 1.0: expected a rate from 0 to below 1"),
        ({"group_channels": -1}, "group_channels -1: expected at least 1, or 0 for none"),
        ({"heads": 7}, "embedding 16: expected a multiple of the 7 heads"),
        ({"dropout": -0.5}, "dropout -0.5: expected a rate"),
        ({"residual_scale": 0.0}, "residual_scale 0.0: expected a number above 0"),
    ],
)
def test_wrong_arguments(arguments, said):
    with pytest.raises(UsageError, match=said):
        build("patch_transformer", **arguments)


def test_wrong_arguments_of_mamba():
    with pytest.raises(UsageError, match="order 'y': expected one of xyz, hilbert"):
        build("mamba", order="y")
    with pytest.raises(UsageError, match=r"taps \[9\]: expected some of the blocks 1 to 2"):
        build("mamba", taps=[9])


@pytest.mark.parametrize(
    "name", ["patch_transformer with a class token", "mamba along a Hilbert curve"]
)
def test_a_graph_of_any_number_of_clouds(name):
    class Both(torch.nn.Module):
        def __init__(self, encoder):
            super().__init__()
            self.encoder = encoder

        def forward(self, xyz):
            return tuple(self.encoder(xyz))

    encoder = build(name, groups=4, depth=1, taps=(1,)).eval()
    batch = ({0: torch.export.Dim("batch", min=1)},)
    program = torch.export.export(Both(encoder), (randn(2, 40, 3),), dynamic_shapes=batch).module()
    xyz = randn(3, 40, 3, seed=1)
    for found, expected in zip(program(xyz), encoder(xyz), strict=True):
        assert torch.allclose(found, expected, atol=1e-5)
