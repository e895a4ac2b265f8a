"""PointNet++ in the key names of yanx27/Pointnet_Pointnet2_pytorch."""

import re
from collections.abc import Sequence
from typing import Any

import torch

from pointssl.checkpoints.zoo.family import Family, Weights
from pointssl.checkpoints.zoo.pointnet import OBJECTS, SCENES, SHAPE_PARTS, Keys, layer


def _widths(weights: Weights, theirs: str) -> list[int]:
    """Of the layers ``theirs.0``, ``theirs.1``, ..."""
    widths: list[int] = []
    while f"{theirs}.{len(widths)}.weight" in weights:
        widths.append(len(weights[f"{theirs}.{len(widths)}.weight"]))
    return widths


def _balls(weights: Weights, stage: str) -> list[tuple[str, str]]:
    """Names of the layers and norms for each size of a stage's balls."""
    if f"{stage}.mlp_convs.0.weight" in weights:
        return [(f"{stage}.mlp_convs", f"{stage}.mlp_bns")]
    found: list[tuple[str, str]] = []
    while f"{stage}.conv_blocks.{len(found)}.0.weight" in weights:
        found.append((f"{stage}.conv_blocks.{len(found)}", f"{stage}.bn_blocks.{len(found)}"))
    return found


def _chain(ours: Sequence[str], convs: str, norms: str) -> Keys:
    """Layers of ours in turn -> ``convs.0``, ``norms.0``, ``convs.1``, ..."""
    keys: Keys = {}
    for i, name in enumerate(ours):
        keys |= layer(name, f"{convs}.{i}", f"{norms}.{i}")
    return keys


def _first_and_rest(ours: str, count: int) -> list[str]:
    return [f"{ours}.first", *(f"{ours}.rest.{i}" for i in range(count - 1))]


def coordinates_first(weights: Weights) -> Weights:
    """Where a ball has several sizes its first layers take the offset behind the features; ours
    take it before them, as all others do."""
    turned = dict(weights)
    for key, value in weights.items():
        if re.fullmatch(r"sa\d+\.conv_blocks\.\d+\.0\.weight", key):
            turned[key] = torch.cat((value[:, -3:], value[:, :-3]), dim=1)
    return turned


def pointnet2_form(
    stages: int, *, group_all: bool = True, absolute: bool = False, decoder: bool = False
) -> dict[str, Any]:
    """Keys and arguments of a PointNet++ of so many stages with balls."""
    last = f"sa{stages + 1}.mlp_convs"
    steps = range(stages + group_all, 0, -1)  # back to the points

    def keys(weights: Weights) -> Keys:
        found: Keys = {}
        for stage in range(stages):
            for size, (convs, norms) in enumerate(_balls(weights, f"sa{stage + 1}")):
                names = _first_and_rest(
                    f"stages.{stage}.balls.{size}", len(_widths(weights, convs))
                )
                found |= _chain(names, convs, norms)
        if group_all:
            names = [f"last.{i}" for i in range(len(_widths(weights, last)))]
            found |= _chain(names, last, f"sa{stages + 1}.mlp_bns")
        if decoder:
            for step, number in enumerate(steps):
                convs = f"fp{number}.mlp_convs"
                names = _first_and_rest(f"decoder.{step}", len(_widths(weights, convs)))
                found |= _chain(names, convs, f"fp{number}.mlp_bns")
        return found

    def arguments(weights: Weights) -> dict[str, Any]:
        balls = [_balls(weights, f"sa{stage + 1}") for stage in range(stages)]
        seen = weights[f"{balls[0][0][0]}.0.weight"].shape[1]  # offset, perhaps place, the rest
        found: dict[str, Any] = {
            "in_channels": seen - 3 if absolute else seen,
            "channels": [[_widths(weights, convs) for convs, _ in stage] for stage in balls],
            "group_all": group_all,
            "absolute": absolute,
        }
        if group_all:
            *found["hidden"], found["embedding"] = _widths(weights, last)
        if decoder:
            widths = [_widths(weights, f"fp{number}.mlp_convs") for number in steps]
            found |= {"decoder": True, "decoder_channels": widths, "skip_input": False}
        return found

    return {"keys": keys, "arguments": arguments, "prepare": coordinates_first}


def _recipe(centres: list[int], radii: list[list[float]], neighbours: list[list[int]]) -> Any:
    """What shapes don't reveal. Its sampling starts with a point drawn at random: ours does not."""
    return {"centres": centres, "radii": radii, "neighbours": neighbours, "order": "first"}


FAMILIES = (
    Family(
        name="pointnet2-cls",
        title="PointNet++ (SSG), classifier (Qi et al. 2017)",
        backbone="pointnet2",
        marks=("sa1.mlp_convs.0.weight", "sa3.mlp_convs.0.weight", "fc3.weight"),
        recipe=_recipe([512, 128], [[0.2], [0.4]], [[32], [64]]),
        published="ModelNet40 accuracy 92.2, with normals 92.4",
        **pointnet2_form(2),
        **OBJECTS,
    ),
    Family(
        name="pointnet2-msg-cls",
        title="PointNet++ (MSG), classifier (Qi et al. 2017)",
        backbone="pointnet2_msg",
        marks=("sa1.conv_blocks.0.0.weight", "sa3.mlp_convs.0.weight", "fc3.weight"),
        recipe=_recipe(
            [512, 128], [[0.1, 0.2, 0.4], [0.2, 0.4, 0.8]], [[16, 32, 128], [32, 64, 128]]
        ),
        published="ModelNet40 accuracy 92.8 with normals",
        **pointnet2_form(2),
        **OBJECTS,
    ),
    Family(
        name="pointnet2-s3dis",
        title="PointNet++ (SSG), scene segmentation (Qi et al. 2017)",
        backbone="pointnet2",
        marks=("sa4.mlp_convs.0.weight", "fp4.mlp_convs.0.weight", "fp1.mlp_convs.0.weight"),
        recipe=_recipe([1024, 256, 64, 16], [[0.1], [0.2], [0.4], [0.8]], [[32]] * 4),
        published="S3DIS area 5 mIoU 53.5, accuracy 83.0",
        **pointnet2_form(4, group_all=False, absolute=True, decoder=True),
        **SCENES,
    ),
    Family(
        name="pointnet2-msg-s3dis",
        title="PointNet++ (MSG), scene segmentation (Qi et al. 2017)",
        backbone="pointnet2_msg",
        marks=("sa4.conv_blocks.0.0.weight", "fp4.mlp_convs.0.weight", "fp1.mlp_convs.0.weight"),
        recipe=_recipe(
            [1024, 256, 64, 16],
            [[0.05, 0.1], [0.1, 0.2], [0.2, 0.4], [0.4, 0.8]],
            [[16, 32]] * 4,
        ),
        **pointnet2_form(4, group_all=False, absolute=True, decoder=True),
        **SCENES,
    ),
    Family(
        name="pointnet2-partseg",
        title="PointNet++ (SSG) without its decoder, which takes a category (Qi et al. 2017)",
        backbone="pointnet2",
        marks=("sa1.mlp_convs.0.weight", "sa3.mlp_convs.0.weight", "fp1.mlp_convs.0.weight"),
        recipe=_recipe([512, 128], [[0.2], [0.4]], [[32], [64]]),
        published="ShapeNetPart instance mIoU 84.9, class mIoU 81.8",
        **pointnet2_form(2, absolute=True),
        **SHAPE_PARTS,
    ),
    Family(
        name="pointnet2-msg-partseg",
        title="PointNet++ (MSG) without its decoder, which takes a category (Qi et al. 2017)",
        backbone="pointnet2_msg",
        marks=("sa1.conv_blocks.0.0.weight", "sa3.mlp_convs.0.weight", "fp1.mlp_convs.0.weight"),
        recipe=_recipe([512, 128], [[0.1, 0.2, 0.4], [0.4, 0.8]], [[32, 64, 128], [64, 128]]),
        published="ShapeNetPart instance mIoU 85.4, class mIoU 82.5",
        **pointnet2_form(2, absolute=True),
        **SHAPE_PARTS,
    ),
)
