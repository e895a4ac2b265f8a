"""PointNet in the key names of yanx27/Pointnet_Pointnet2_pytorch.

The names of its classifier are also those of fxia22/pointnet.pytorch.
"""

from collections.abc import Mapping
from typing import Any

from pointssl.checkpoints.zoo.family import NORM, S3DIS_BUT_5, UNIT, Family, Weights, renamed

Keys = dict[str, str]


def layer(ours: str, linear: str, norm: str) -> Keys:
    """A point layer, whose linear layer has a bias here."""
    return renamed(f"{ours}.linear", linear) | renamed(f"{ours}.norm", norm, *NORM)


def _tnet(ours: str, theirs: str) -> Keys:
    keys = renamed(f"{ours}.matrix", f"{theirs}.fc3")
    for i in (1, 2, 3):
        keys |= layer(f"{ours}.point_layers.{i - 1}", f"{theirs}.conv{i}", f"{theirs}.bn{i}")
    for i in (1, 2):
        keys |= renamed(f"{ours}.linears.{i - 1}", f"{theirs}.fc{i}")
        keys |= renamed(f"{ours}.norms.{i - 1}", f"{theirs}.bn{i + 3}", *NORM)
    return keys


def pointnet_form(convs: int, under: str = "", transform_after: int = 1) -> dict[str, Any]:
    """Keys and arguments of a PointNet of so many layers, whose keys begin with ``under``."""

    def keys(weights: Weights) -> Keys:
        found = _tnet("align", f"{under}stn")
        if f"{under}fstn.conv1.weight" in weights:
            found |= _tnet("transform", f"{under}fstn")
        for i in range(1, convs):
            found |= layer(f"point_layers.{i - 1}", f"{under}conv{i}", f"{under}bn{i}")
        return found | layer("last", f"{under}conv{convs}", f"{under}bn{convs}")

    def arguments(weights: Weights) -> dict[str, Any]:
        widths = [len(weights[f"{under}conv{i}.weight"]) for i in range(1, convs + 1)]
        return {
            "in_channels": weights[f"{under}conv1.weight"].shape[1],
            "channels": widths[:-1],
            "embedding": widths[-1],
            "feature_transform": f"{under}fstn.conv1.weight" in weights,
            "tnet_channels": [len(weights[f"{under}stn.conv{i}.weight"]) for i in (1, 2, 3)],
            "tnet_hidden": [len(weights[f"{under}stn.fc{i}.weight"]) for i in (1, 2)],
        }

    return {
        "backbone": "pointnet",
        "keys": keys,
        "arguments": arguments,
        "recipe": {"transform_after": transform_after},
    }


PARTS = {**UNIT, "points": 2048}
ROOMS = {"points": 4096, "normalise": "none", "up_axis": "z"}
OBJECTS: Mapping[str, Any] = {
    "source": "https://github.com/yanx27/Pointnet_Pointnet2_pytorch",
    "serve": UNIT,
    "trained_on": "ModelNet40",
    "labels": "classes of ModelNet40",
}
SHAPE_PARTS = {
    **OBJECTS,
    "serve": PARTS,
    "trained_on": "ShapeNetPart",
    "labels": "parts of ShapeNetPart",
}
SCENES = {
    **OBJECTS,
    "serve": ROOMS,
    "trained_on": S3DIS_BUT_5,
    "labels": "things in the rooms of S3DIS",
}

FAMILIES = (
    Family(
        name="pointnet-cls",
        title="PointNet, classifier (Qi et al. 2017)",
        marks=("feat.stn.conv1.weight", "feat.conv3.weight", "fc3.weight"),
        published="ModelNet40 accuracy 90.6, with normals 91.4",
        **pointnet_form(3, "feat."),
        **OBJECTS,
    ),
    Family(
        name="pointnet-s3dis",
        title="PointNet, scene segmentation (Qi et al. 2017)",
        marks=("feat.stn.conv1.weight", "feat.conv3.weight", "conv4.weight"),
        published="S3DIS area 5 mIoU 43.7, accuracy 78.9",
        **pointnet_form(3, "feat."),
        **SCENES,
    ),
    Family(
        name="pointnet-partseg",
        title="PointNet, part segmentation (Qi et al. 2017)",
        marks=("stn.conv1.weight", "conv5.weight", "convs1.weight"),
        published="ShapeNetPart instance mIoU 84.3, class mIoU 81.1",
        **pointnet_form(5, transform_after=3),
        **SHAPE_PARTS,
    ),
)
