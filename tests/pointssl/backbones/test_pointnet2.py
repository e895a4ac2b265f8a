"""PointNet++ against a slow twin under public key names, through the zoo."""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from golden import load
from public_layers import Weights, add, linear, norm, parameters
from torch import Tensor

from pointssl.backbones.build import build_encoder
from pointssl.checkpoints.zoo.pointnet2 import pointnet2_form
from pointssl.checkpoints.zoo.recognise import flat, recognise
from pointssl_datasets.base.errors import UsageError


@dataclass(frozen=True)
class Form:
    """A published network: for each stage the layers of its balls, then those of all points (none
    in scenes), those back to the points, and what a point has beside its offset."""

    stages: tuple[tuple[tuple[int, ...], ...], ...]
    group_all: tuple[int, ...] = (256, 512, 1024)
    back: tuple[tuple[int, ...], ...] = ()
    skip: int = 0  # channels of the points that the last step back sees
    own: int = 0
    several: bool = False


SSG, MSG = (
    (((64, 64, 128),), ((128, 128, 256),)),
    (
        ((32, 32, 64), (64, 64, 128), (64, 96, 128)),
        ((64, 64, 128), (128, 128, 256), (128, 128, 256)),
    ),
)
PARTS_MSG = (MSG[0], ((128, 128, 256), (128, 196, 256)))
SCENES = (((32, 32, 64),), ((64, 64, 128),), ((128, 128, 256),), ((256, 256, 512),))
SCENES_MSG = (
    ((16, 16, 32), (32, 32, 64)),
    ((64, 64, 128), (64, 96, 128)),
    ((128, 196, 256), (128, 196, 256)),
    ((256, 256, 512), (256, 384, 512)),
)
ROOMS = ((256, 256), (256, 256), (256, 128), (128, 128, 128))
FORMS = {
    "pointnet2-cls": Form(SSG),
    "pointnet2-cls with normals": Form(SSG, own=3),
    "pointnet2-msg-cls": Form(MSG, several=True),
    "pointnet2-msg-cls with normals": Form(MSG, own=3, several=True),
    "pointnet2-partseg": Form(
        SSG, back=((256, 256), (256, 128), (128, 128, 128)), skip=16 + 6, own=3
    ),
    "pointnet2-msg-partseg with normals": Form(
        PARTS_MSG, back=((256, 256), (256, 128), (128, 128)), skip=16 + 9, own=6, several=True
    ),
    "pointnet2-s3dis": Form(SCENES, (), ROOMS, own=9),
    "pointnet2-msg-s3dis": Form(SCENES_MSG, (), ROOMS, own=9, several=True),
}


def public(form: Form) -> Weights:
    weights: Weights = {}
    before, given = form.own, []
    for number, stage in enumerate(form.stages, 1):
        for size, layers in enumerate(stage):
            for i, (a, b) in enumerate(pairwise((before + 3, *layers))):
                name = f"sa{number}.conv_blocks.{size}.{i}", f"sa{number}.bn_blocks.{size}.{i}"
                if not form.several:
                    name = f"sa{number}.mlp_convs.{i}", f"sa{number}.mlp_bns.{i}"
                add(weights, *name, a, b, 2)
        before = sum(layers[-1] for layers in stage)
        given.append(before)
    if form.group_all:
        name = f"sa{len(form.stages) + 1}"
        for i, (a, b) in enumerate(pairwise((before + 3, *form.group_all))):
            add(weights, f"{name}.mlp_convs.{i}", f"{name}.mlp_bns.{i}", a, b, 2)
        before = form.group_all[-1]
    else:
        given.pop()
    for step, layers in enumerate(form.back):
        number = len(form.back) - step
        beside = given.pop() if given else form.skip
        for i, (a, b) in enumerate(pairwise((beside + before, *layers))):
            add(weights, f"fp{number}.mlp_convs.{i}", f"fp{number}.mlp_bns.{i}", a, b, 1)
        before = layers[-1]
    if form.back:
        add(weights, "conv1", "bn1", 128, 128, 1)
        add(weights, "conv2", None, 128, 13, 1)
    else:
        for i, (a, b) in enumerate(pairwise((before, 512, 256, 40)), 1):
            add(weights, f"fc{i}", f"bn{i}" if i < 3 else None, a, b)
    return weights


def farthest(cloud: Tensor, count: int) -> list[int]:
    chosen = [0]
    while len(chosen) < count:
        near = [min(float((p - cloud[j]).detach().square().sum()) for j in chosen) for p in cloud]
        chosen.append(near.index(max(near)))
    return chosen


def first_within(cloud: Tensor, middle: Tensor, radius: float, k: int) -> list[int]:
    found = [i for i, p in enumerate(cloud) if float((p - middle).detach().norm()) <= radius][:k]
    return found + [found[0]] * (k - len(found))


def layers(weights: Weights, convs: str, norms: str, x: Tensor, training: bool) -> Tensor:
    i = 0
    while f"{convs}.{i}.weight" in weights:
        x = norm(weights, f"{norms}.{i}", linear(weights, f"{convs}.{i}", x), training).relu()
        i += 1
    return x


def abstraction(
    weights: Weights, name: str, xyz: Tensor, x: Tensor, count: int, radii, neighbours, training
) -> tuple[Tensor, Tensor]:
    """``(B, N, 3)`` and ``(B, N, C)`` to ``(B, M, 3)`` and ``(B, M, O)``."""
    chosen = [farthest(cloud, count) for cloud in xyz]
    places = torch.stack([cloud[rows] for cloud, rows in zip(xyz, chosen, strict=True)])
    found = []
    for size, (radius, k) in enumerate(zip(radii, neighbours, strict=True)):
        groups = []
        for cloud, features, middles in zip(xyz, x, places, strict=True):
            rows = [first_within(cloud, middle, radius, k) for middle in middles]
            offset = torch.stack([cloud[r] - m for r, m in zip(rows, middles, strict=True)])
            beside = torch.stack([features[r] for r in rows])
            several = f"{name}.conv_blocks.0.0.weight" in weights
            groups.append(torch.cat((beside, offset) if several else (offset, beside), dim=-1))
        names = (f"{name}.mlp_convs", f"{name}.mlp_bns")
        if several:
            names = (f"{name}.conv_blocks.{size}", f"{name}.bn_blocks.{size}")
        x_grouped = torch.stack(groups).permute(0, 3, 2, 1)  # (B, C, K, M)
        found.append(layers(weights, *names, x_grouped, training).max(2).values.mT)
    return places, torch.cat(found, dim=-1)


def spread(values: Tensor, places: Tensor, targets: Tensor) -> Tensor:
    """From the three nearest of ``places (B, M, 3)``, or from the only one."""
    rows = []
    for cloud, middles, features in zip(targets, places, values, strict=True):
        for point in cloud:
            squared = torch.stack([(point - middle).square().sum() for middle in middles])
            near = sorted(range(len(middles)), key=lambda j: float(squared[j].detach()))[:3]
            weight = 1 / (squared[near] + 1e-8)
            rows.append((weight / weight.sum()) @ features[near])
    return torch.stack(rows).view(*targets.shape[:2], -1)


def pointnet2(
    form: Form, weights: Weights, points: Tensor, sizes: dict, training: bool
) -> tuple[Tensor, Tensor]:
    """The pooled feature, and those that were carried back, as our backbone returns them: of
    ``points (B, N, C)``."""
    xyz = points[..., :3]
    x = points if form.own == points.shape[-1] else points[..., 3:]
    passed = [(xyz, x)]
    for stage in range(len(form.stages)):
        size = sizes["centres"][stage], sizes["radii"][stage], sizes["neighbours"][stage]
        passed.append(abstraction(weights, f"sa{stage + 1}", *passed[-1], *size, training))
    places, x = passed[-1]
    if form.group_all:
        name = f"sa{len(form.stages) + 1}"
        joined = torch.cat((places, x), dim=-1).mT[..., None]
        x = layers(weights, f"{name}.mlp_convs", f"{name}.mlp_bns", joined, training)[..., 0].mT
        x = x.max(1, keepdim=True).values
        cloud, places = x[:, 0], torch.zeros(len(x), 1, 3)
    else:
        cloud = x.max(1).values
        passed.pop()
    if not sizes.get("decoder"):
        carried = [spread(features, middles, xyz) for middles, features in passed[1:]]
        return cloud, torch.cat((points, *carried), dim=-1)
    for number in range(len(form.back), 0, -1):
        fine, beside = passed.pop()
        parts = [spread(x, places, fine)]
        if passed or form.skip:
            parts.insert(0, beside)
        names = f"fp{number}.mlp_convs", f"fp{number}.mlp_bns"
        places, x = fine, layers(weights, *names, torch.cat(parts, dim=-1).mT, training).mT
    return torch.cat((cloud, x.max(1).values), dim=-1), x


SMALL = {
    2: {"centres": [12, 6], "start": "first"},
    4: {"centres": [16, 12, 8, 5], "start": "first"},
}


def small_sizes(arguments: dict) -> dict:
    """The published network with balls that a small cloud fills, some of them partly."""
    shapes = [[len(stage)] for stage in arguments["radii"]]
    radii = [[0.9 + 0.4 * i + 0.3 * j for j in range(n)] for i, (n,) in enumerate(shapes)]
    neighbours = [[4 + 3 * j for j in range(n)] for (n,) in shapes]
    return {**arguments, **SMALL[len(shapes)], "radii": radii, "neighbours": neighbours}


def compare(encoder, twin, points: Tensor) -> None:
    points = points.requires_grad_()
    ours, others = encoder(points[..., :3], points[..., 3:]), twin(points)
    for one, other in zip(ours, others, strict=True):
        assert one.shape == other.shape
        assert torch.allclose(one, other, rtol=1e-8, atol=1e-9 * float(other.detach().abs().max()))
        (grad,) = torch.autograd.grad(one.sin().sum(), points, retain_graph=True)
        (expected,) = torch.autograd.grad(other.sin().sum(), points, retain_graph=True)
        assert torch.allclose(grad, expected, rtol=1e-6, atol=1e-8 * float(expected.abs().max()))


def cloud_of(channels: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 24, channels, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", FORMS)
def test_equals_the_twin(name: str, training: bool):
    form, family = FORMS[name], name.partition(" ")[0]
    weights = public(form)
    found = recognise(weights, Path(name))
    assert found.family.name == family
    parts = {"conv1", "conv2", "bn1"} if form.back else {"fc1", "fc2", "fc3", "bn1", "bn2"}
    if "partseg" in name:
        parts |= {"fp1", "fp2", "fp3"}
    assert set(found.left) == parts  # the head is left, and nothing else
    arguments = small_sizes(found.arguments)
    encoder = build_encoder(found.family.backbone, **arguments).double().train(training)
    load(encoder, found.weights)
    points = cloud_of(found.arguments["in_channels"])
    compare(encoder, lambda x: pointnet2(form, weights, x, arguments, training), points)


@pytest.mark.parametrize("in_channels", [3, 6])
def test_decoder_after_all_points_were_one_group(in_channels: int):
    """As in part segmentation, but for the category."""
    back = ((256, 256), (256, 128), (128, 128, 128))
    form = Form(SSG, back=back, skip=in_channels, own=in_channels)
    weights = public(form)
    ours = pointnet2_form(2, absolute=True, decoder=True)
    arguments = {**ours["arguments"](weights), "skip_input": True, "order": "first"}
    arguments = small_sizes({**arguments, "radii": [[0.2], [0.4]]})
    encoder = build_encoder("pointnet2", **arguments).double().eval()
    load(encoder, {our: flat(weights[their]) for our, their in ours["keys"](weights).items()})
    points = cloud_of(in_channels)
    compare(encoder, lambda x: pointnet2(form, weights, x, arguments, False), points)


@pytest.mark.parametrize(
    ("name", "millions"), [("pointnet2-cls", 1.47), ("pointnet2-msg-cls", 1.74)]
)
def test_as_many_parameters_as_published(name: str, millions: float):
    """With their heads; the digits after these were cut off."""
    assert parameters(public(FORMS[name])) // 1e4 / 100 == millions


@pytest.mark.parametrize("name", ["pointnet2", "pointnet2_msg"])
@pytest.mark.parametrize("decoder", [False, True])
def test_defaults_are_the_published_network(name: str, decoder: bool):
    encoder = build_encoder(name, decoder=decoder).eval()
    published = public(FORMS["pointnet2-cls" if name == "pointnet2" else "pointnet2-msg-cls"])
    if not decoder:
        ours = sum(p.numel() for p in encoder.parameters())
        assert ours == parameters({k: v for k, v in published.items() if k.startswith("sa")})
    cloud, points = encoder(torch.randn(1, 50, 3))
    assert cloud.shape == (1, 1024 + (128 if decoder else 0))
    assert points.shape == (1, 50, encoder.point_dim)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"centres": [8]}, r"1 centres, and for the balls of each stage \[1, 1\] radii"),
        ({"radii": [[0.1, 0.2], [0.4]]}, r"\[2, 1\] radii, \[1, 1\] neighbours"),
        ({"decoder": True, "group_all": False}, "expected channels for each of 2 steps back"),
        ({"order": "last"}, "order 'last': expected one of nearest, first"),
        ({"radii": [[0.1], [-0.4]]}, "expected lengths above 0"),
        ({"start": "last"}, "start 'last': expected one of far, first"),
    ],
)
def test_arguments_that_do_not_fit(arguments: dict, message: str):
    with pytest.raises(UsageError, match=message):
        build_encoder("pointnet2", **arguments)(torch.randn(1, 20, 3))
