"""PointMamba, in either version."""

from dataclasses import replace
from typing import Any

from pointssl.checkpoints.zoo.family import UNIT, Family, Weights, count, renamed
from pointssl.checkpoints.zoo.masked import (
    LARGER,
    PATCHES,
    SHAPENET,
    as_classifier,
    as_part_segmentation,
    patches_arguments,
    patches_keys,
)

# Ours -> theirs, within a block's mixer.
MIXER = {"into.weight": "in_proj.weight", "select.weight": "x_proj.weight"}
MIXER |= {"back.weight": "out_proj.weight", "log_rates": "A_log", "skip": "D"}


def mamba_keys(weights: Weights) -> dict[str, str]:
    keys = patches_keys(weights) | renamed("norm.0", "blocks.norm_f")
    if _ordered(weights):
        for order in (0, 1):
            keys[f"serialise.scales.{order}"] = f"OrderScale_gamma_{order + 1}"
            keys[f"serialise.shifts.{order}"] = f"OrderScale_beta_{order + 1}"
    else:
        keys |= renamed("norm.1", "norm")
    for i in range(_depth(weights)):
        ours, theirs = f"blocks.{i}", f"blocks.layers.{i}"
        keys |= renamed(f"{ours}.norm", f"{theirs}.norm")
        keys |= renamed(f"{ours}.mixer.conv", f"{theirs}.mixer.conv1d")
        keys |= renamed(f"{ours}.mixer.step", f"{theirs}.mixer.dt_proj")
        keys |= {f"{ours}.mixer.{our}": f"{theirs}.mixer.{their}" for our, their in MIXER.items()}
    return keys


def mamba_arguments(weights: Weights) -> dict[str, Any]:
    mixer = "blocks.layers.0.mixer"
    arguments = patches_arguments(weights, _depth(weights))
    inner, state = weights[f"{mixer}.A_log"].shape
    return {
        **arguments,
        "order": "hilbert" if _ordered(weights) else "xyz",
        "state": state,
        "conv": weights[f"{mixer}.conv1d.weight"].shape[-1],
        "expand": inner // arguments["embedding"],
    }


def _depth(weights: Weights) -> int:
    return count(weights, r"blocks\.layers\.(\d{1,3})\.mixer\.A_log$")


def _ordered(weights: Weights) -> bool:
    return "OrderScale_gamma_1" in weights


MIXERS = (*PATCHES, "blocks.layers.0.mixer.A_log", "blocks.norm_f.weight")

POINT_MAMBA = Family(
    name="point-mamba",
    title="PointMamba, first version, pretrained (Liang et al. 2024)",
    source="https://github.com/LMD0311/PointMamba",
    backbone="mamba",
    marks=(*MIXERS, "norm.weight"),
    without=("cls_token",),
    keys=mamba_keys,
    arguments=mamba_arguments,
    recipe={"groups": 64, "group_size": 32},
    serve=UNIT,
    trained_on=SHAPENET,
    published="none without labels",
)
HILBERT = replace(
    POINT_MAMBA,
    name="point-mamba-hilbert",
    title="PointMamba along Hilbert curves, pretrained (Liang et al. 2024)",
    marks=(*MIXERS, "OrderScale_gamma_1", "OrderScale_beta_2"),
    recipe={"groups": 64, "group_size": 32, "cell": 0.02},
)

FAMILIES = (
    as_classifier(HILBERT, f"ModelNet40 93.6; ScanObjectNN, hardest, 89.3 ({LARGER})"),
    HILBERT,
    as_classifier(
        POINT_MAMBA,
        f"ModelNet40 93.6; ScanObjectNN, hardest, 84.9, with rotations 88.2 ({LARGER})",
    ),
    as_part_segmentation(POINT_MAMBA, "ShapeNetPart instance mIoU 86.0"),
    POINT_MAMBA,
)
