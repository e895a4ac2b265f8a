"""Point Transformers: qq456cvb's, and the code of the paper's first author at POSTECH."""

import re
from typing import Any

from pointssl.checkpoints.zoo.family import NORM, S3DIS_BUT_5, UNIT, Family, Weights, count, renamed

ATTENTION = {
    "into": "fc1",
    "place.0": "fc_delta.0",
    "place.2": "fc_delta.2",
    "weigh.0": "fc_gamma.0",
    "weigh.2": "fc_gamma.2",
    "back": "fc2",
}


def attention(ours: str, theirs: str) -> dict[str, str]:
    keys: dict[str, str] = {}
    for our, their in ATTENTION.items():
        keys |= renamed(f"{ours}.{our}", f"{theirs}.{their}")
    for our, their in {"query": "w_qs", "key": "w_ks", "value": "w_vs"}.items():
        keys |= renamed(f"{ours}.{our}", f"{theirs}.{their}", "weight")
    return keys


def encoder_keys(weights: Weights, under: str = "") -> dict[str, str]:
    keys = renamed("first.0", f"{under}fc1.0") | renamed("first.2", f"{under}fc1.2")
    keys |= attention("stages.0.block", f"{under}transformer1")
    for i in range(_downs(weights, under)):
        keys |= attention(f"stages.{i + 1}.block", f"{under}transformers.{i}")
        for layer in (0, 1):
            ours, theirs = f"stages.{i + 1}.transition", f"{under}transition_downs.{i}.sa"
            keys |= renamed(f"{ours}.linear{layer + 1}", f"{theirs}.mlp_convs.{layer}")
            keys |= renamed(f"{ours}.norm{layer + 1}", f"{theirs}.mlp_bns.{layer}", *NORM)
    return keys


def decoder_keys(weights: Weights) -> dict[str, str]:
    keys = encoder_keys(weights, "backbone.") | attention("up_stages.0.block", "transformer2")
    for layer in (0, 2, 4):
        keys |= renamed(f"bottom.{layer}", f"fc2.{layer}")
    for i in range(count(weights, r"transition_ups\.(\d{1,3})\.")):
        keys |= attention(f"up_stages.{i + 1}.block", f"transformers.{i}")
        for our, their in {"coarse": "fc1", "fine": "fc2"}.items():
            keys |= renamed(
                f"up_stages.{i + 1}.transition.{our}.linear", f"transition_ups.{i}.{their}.0"
            )
            keys |= renamed(
                f"up_stages.{i + 1}.transition.{our}.norm", f"transition_ups.{i}.{their}.2", *NORM
            )
    return keys


def encoder_arguments(weights: Weights, under: str = "") -> dict[str, Any]:
    return {
        "in_channels": weights[f"{under}fc1.0.weight"].shape[1],
        "embedding": len(weights[f"{under}transformer1.w_qs.weight"]),
        "blocks": _downs(weights, under),
    }


def _downs(weights: Weights, under: str) -> int:
    return count(weights, rf"{re.escape(under)}transition_downs\.(\d{{1,3}})\.")


# The published networks of POSTECH: a stage is `enc1` to `enc5`, its first layer thins out.
LINEARS = tuple(f"linear_{layer}" for layer in ("q", "k", "v", "p.0", "p.3", "w.2", "w.5"))
NORMS = ("linear_p.1", "linear_w.0", "linear_w.3")


def bottleneck(ours: str, theirs: str) -> dict[str, str]:
    keys: dict[str, str] = {}
    for layer in (1, 3):
        keys |= renamed(f"{ours}.linear{layer}", f"{theirs}.linear{layer}", "weight")
    for norm in (1, 2, 3):
        keys |= renamed(f"{ours}.norm{norm}", f"{theirs}.bn{norm}", *NORM)
    for part in (*LINEARS, *NORMS):
        names = NORM if part in NORMS else ()
        keys |= renamed(f"{ours}.attention.{part}", f"{theirs}.transformer2.{part}", *names)
    return keys


def packed_stages(weights: Weights) -> list[int]:
    """Blocks after the transition, for each of the stages."""
    stages = count(weights, r"enc([1-9])\.")
    return [count(weights, rf"enc{stage}\.(\d{{1,3}})\.") - 1 for stage in range(1, stages + 1)]


def packed_keys(weights: Weights) -> dict[str, str]:
    keys: dict[str, str] = {}
    for stage, depth in enumerate(packed_stages(weights)):
        theirs = f"enc{stage + 1}"
        keys |= renamed(f"stages.{stage}.down.linear", f"{theirs}.0.linear", "weight")
        keys |= renamed(f"stages.{stage}.down.norm", f"{theirs}.0.bn", *NORM)
        for block in range(depth):
            keys |= bottleneck(f"stages.{stage}.blocks.{block}", f"{theirs}.{block + 1}")
    return keys


def packed_decoder_keys(weights: Weights) -> dict[str, str]:
    keys = packed_keys(weights)
    stages = len(packed_stages(weights))
    for stage in range(stages):  # ours counts from the deepest on
        ours, theirs = f"ups.{stage}", f"dec{stages - stage}"
        for our, their in {"own": "linear1", "deeper": "linear2"}.items():
            head = not stage and our == "deeper"  # of the mean of the cloud: no norm
            linear = f"{ours}.{our}" if head else f"{ours}.{our}.linear"
            keys |= renamed(linear, f"{theirs}.0.{their}.0")
            if not head:
                keys |= renamed(f"{ours}.{our}.norm", f"{theirs}.0.{their}.1", *NORM)
        for block in range(count(weights, rf"{theirs}\.(\d{{1,3}})\.") - 1):
            keys |= bottleneck(f"{ours}.blocks.{block}", f"{theirs}.{block + 1}")
    return keys


def packed_arguments(weights: Weights) -> dict[str, Any]:
    depths = packed_stages(weights)
    layers = [weights[f"enc{stage + 1}.0.linear.weight"] for stage in range(len(depths))]
    widths = [len(layer) for layer in layers]
    channels = layers[0].shape[1]
    # A layer that also takes coordinates thins out: all published ones to a quarter.
    thins = [
        layer.shape[1] > before for layer, before in zip(layers, [channels, *widths], strict=False)
    ]
    return {
        "in_channels": channels,
        "widths": widths,
        "depths": depths,
        "strides": [4 if thin else 1 for thin in thins],
        "share": widths[0] // len(weights["enc1.1.transformer2.linear_w.2.weight"]),
    }


def packed_decoder_arguments(weights: Weights) -> dict[str, Any]:
    depth = count(weights, r"dec1\.(\d{1,3})\.") - 1
    return {**packed_arguments(weights), "decoder": True, "up_depth": depth}


QQ456CVB = "https://github.com/qq456cvb/Point-Transformers"
POSTECH = "https://github.com/POSTECH-CVLab/point-transformer"
STAGES = ("enc1.0.linear.weight", "enc1.1.transformer2.linear_w.2.weight", "enc2.0.bn.weight")
ROOMS = {"points": 80000, "normals": False, "normalise": "none", "up_axis": "z"}  # with colours

FAMILIES = (
    Family(
        name="point-transformer-partseg",
        title="Point Transformer of Point-Transformers, part segmentation (Zhao et al. 2021); the "
        "one-hot category stands behind coordinates and normals in its input",
        source=QQ456CVB,
        backbone="point_transformer",
        marks=(
            "transition_ups.0.fc1.0.weight",
            "transformer2.w_qs.weight",
            "backbone.fc1.0.weight",
        ),
        keys=decoder_keys,
        arguments=lambda weights: {**encoder_arguments(weights, "backbone."), "decoder": True},
        recipe={"k": 16},
        serve=UNIT,
        trained_on="ShapeNetPart",
        labels="parts of ShapeNetPart",
        published="none; the paper has ShapeNetPart instance mIoU 86.6, class mIoU 83.7",
    ),
    Family(
        name="point-transformer-cls",
        title="Point Transformer of Point-Transformers, classifier (Zhao et al. 2021)",
        source=QQ456CVB,
        backbone="point_transformer",
        marks=(
            "transition_downs.0.sa.mlp_convs.0.weight",
            "transformer1.w_qs.weight",
            "fc1.0.weight",
        ),
        keys=encoder_keys,
        arguments=encoder_arguments,
        recipe={"k": 16},
        serve=UNIT,
        trained_on="ModelNet40",
        labels="classes of ModelNet40",
        published="ModelNet40 accuracy 91.7; the paper has 93.7",
    ),
    Family(
        name="point-transformer-s3dis",
        title="Point Transformer of its first author, scene segmentation (Zhao et al. 2021), on "
        "voxels of 4 cm and colours from 0 to 1",
        source=POSTECH,
        backbone="point_transformer_packed",
        marks=(*STAGES, "dec1.0.linear1.0.weight"),
        keys=packed_decoder_keys,
        arguments=packed_decoder_arguments,
        recipe={"k": 16, "first_k": 8},
        serve=ROOMS,
        trained_on=S3DIS_BUT_5,
        labels="things in the rooms of S3DIS",
        published="S3DIS area 5 mIoU 70.0, mean accuracy 76.8, accuracy 90.4; the paper has 70.4",
    ),
    Family(
        name="point-transformer-packed",
        title="the encoder of such a Point Transformer alone",
        source=POSTECH,
        backbone="point_transformer_packed",
        marks=STAGES,
        keys=packed_keys,
        arguments=packed_arguments,
        recipe={"k": 16, "first_k": 8},
        serve=ROOMS,
        trained_on="unknown",
    ),
)
