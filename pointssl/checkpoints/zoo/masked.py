"""Transformers over patches: Point-MAE, Point-BERT, ReCon, and what PointGPT is not."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from pointssl.checkpoints.zoo.family import NORM, UNIT, Family, Weights, count, renamed

# Ours -> theirs, within the mini-PointNet and within a block.
NET = {"linear1": "first_conv.0", "linear2": "first_conv.3"}
NET |= {"linear3": "second_conv.0", "linear4": "second_conv.3"}
BLOCK = {"norm1": "norm1", "norm2": "norm2", "attention.proj": "attn.proj"}
BLOCK |= {"linear1": "mlp.fc1", "linear2": "mlp.fc2"}


def patches_keys(weights: Weights) -> dict[str, str]:
    keys: dict[str, str] = {}
    for ours, theirs in NET.items():
        keys |= renamed(f"patches.net.{ours}", f"encoder.{theirs}")
    keys |= renamed("patches.net.norm1", "encoder.first_conv.1", *NORM)
    keys |= renamed("patches.net.norm2", "encoder.second_conv.1", *NORM)
    for layer in (0, 2):
        keys |= renamed(f"patches.position.{layer}", f"pos_embed.{layer}")
    return keys | (renamed("patches.bridge", "reduce_dim") if _bridged(weights) else {})


def transformer_keys(weights: Weights) -> dict[str, str]:
    """All but the class token."""
    keys = patches_keys(weights) | renamed("norm", "norm")
    for i in range(_depth(weights)):
        keys[f"blocks.{i}.attention.qkv.weight"] = f"blocks.blocks.{i}.attn.qkv.weight"
        for ours, theirs in BLOCK.items():
            keys |= renamed(f"blocks.{i}.{ours}", f"blocks.blocks.{i}.{theirs}")
    return keys


def keys_with_token(weights: Weights) -> dict[str, str]:
    return transformer_keys(weights) | {"token": "cls_token", "token_position": "cls_pos"}


def patches_arguments(weights: Weights, depth: int) -> dict[str, Any]:
    """The taps are the thirds of the depth: 4, 8 and 12 of 12 blocks, as published."""
    first, last = weights["encoder.first_conv.0.weight"], weights["encoder.second_conv.3.weight"]
    return {
        "in_channels": first.shape[1],
        "embedding": len(weights["pos_embed.2.weight"]),
        "group_channels": len(last) if _bridged(weights) else 0,
        "depth": depth,
        "taps": sorted({-(-depth * third // 3) for third in (1, 2, 3)}),
    }


def transformer_arguments(weights: Weights) -> dict[str, Any]:
    arguments = patches_arguments(weights, _depth(weights))
    return {**arguments, "heads": max(1, arguments["embedding"] // 64)}


def arguments_with_token(weights: Weights) -> dict[str, Any]:
    return {**transformer_arguments(weights), "class_token": True}


def flat_token(weights: Weights) -> Mapping[str, Tensor]:
    """The class token and its position as vectors; theirs are ``(1, 1, C)``."""
    flat = {key: weights[key].flatten() for key in ("cls_token", "cls_pos") if key in weights}
    return {**weights, **flat}


def _depth(weights: Weights) -> int:
    return count(weights, r"blocks\.blocks\.(\d{1,3})\.attn\.qkv\.weight$")


def _bridged(weights: Weights) -> bool:
    return "reduce_dim.weight" in weights


PATCHES = ("encoder.first_conv.0.weight", "encoder.second_conv.3.weight", "pos_embed.2.weight")
BLOCKS = (*PATCHES, "blocks.blocks.0.attn.qkv.weight", "norm.weight")
CLASSIFIER = "cls_head_finetune.0.weight"
PARTS = "label_conv.0.weight"
CONTRAST = "blocks.blocks.0.attn_contrast.q.weight"
SHAPENET = "ShapeNet (55 categories)"
THEN = f"{SHAPENET}, then ModelNet40 or ScanObjectNN"
CLASSES = "classes of ModelNet40 or ScanObjectNN"
LARGER = "2048 points, groups 128"  # with which ScanObjectNN was fine-tuned

POINT_MAE = Family(
    name="point-mae",
    title="Point-MAE, pretrained (Pang et al. 2022), or another trunk with its keys",
    source="https://github.com/Pang-Yatian/Point-MAE",
    backbone="patch_transformer",
    marks=BLOCKS,
    without=("cls_token", "reduce_dim.weight", CONTRAST),
    keys=transformer_keys,
    arguments=transformer_arguments,
    recipe={"groups": 64, "group_size": 32},
    note="heads are not in the file: its code gives each 64 channels",
    serve=UNIT,
    trained_on=SHAPENET,
    published="linear SVM: ModelNet40 91.0 (table 1 of Point-M2AE's paper)",
)
POINT_BERT = replace(
    POINT_MAE,
    name="point-bert",
    title="Point-BERT, pretrained (Yu et al. 2022)",
    source="https://github.com/Julie-tang00/Point-BERT",
    marks=(*BLOCKS, "reduce_dim.weight", "cls_token", "lm_head.weight"),
    without=(),
    keys=keys_with_token,
    arguments=arguments_with_token,
    prepare=flat_token,
    published="linear SVM: ModelNet40 87.4 (table 1 of Point-M2AE's paper)",
)
RECON = replace(
    POINT_MAE,
    name="recon",
    title="ReCon, pretrained (Qi et al. 2023): the patches' trunk, no class tokens",
    source="https://github.com/qizekun/ReCon",
    marks=(*BLOCKS, CONTRAST),
    without=(),
    recipe={"groups": 64, "group_size": 32, "normed_residual": True},
    published="linear SVM: ModelNet40 93.4, on [maximum of the class tokens | maximum plus mean of "
    "the patches], of which the second half is here",
)


def as_classifier(family: Family, published: str) -> Family:
    """The same trunk, fine-tuned to tell classes."""
    return replace(
        family,
        name=f"{family.name}-cls",
        title=family.title.replace("pretrained", "fine-tuned classifier"),
        marks=(*family.marks, CLASSIFIER),
        trained_on=THEN,
        labels=CLASSES,
        published=published,
    )


def as_part_segmentation(family: Family, published: str) -> Family:
    """The same trunk, fine-tuned to tell parts."""
    return replace(
        family,
        name=f"{family.name}-partseg",
        title=family.title.replace("pretrained", "fine-tuned part segmentation"),
        marks=(*family.marks, PARTS),
        recipe={"groups": 128, "group_size": 32},
        serve={**UNIT, "points": 2048},
        trained_on=f"{SHAPENET}, then ShapeNetPart",
        labels="parts of ShapeNetPart",
        published=published,
    )


FAMILIES = (
    replace(
        POINT_MAE,
        name="pointgpt",
        title="PointGPT (Chen et al. 2023)",
        source="https://github.com/CGuangyan-BIT/PointGPT",
        marks=("blocks.layers.0.ln_1.weight", "blocks.sos", "encoder.first_conv.0.weight"),
        without=(),
        published="ScanObjectNN, hardest, 86.9, fine-tuned (PointGPT-S)",
        refused="It is another network, which pointssl does not have: its attention is causal over "
        "patches in the order of a walk, with sinusoids of the place, and its residuals pass "
        "through the norms",
    ),
    as_classifier(RECON, f"ScanObjectNN, hardest, 90.6, with votes 91.3 ({LARGER})"),
    RECON,
    POINT_BERT,
    replace(
        POINT_BERT,
        name="point-bert-finetuned",
        title="Point-BERT, fine-tuned (Yu et al. 2022)",
        marks=(*BLOCKS, "reduce_dim.weight", "cls_token"),
        trained_on=THEN,
        labels=f"{CLASSES}, or parts of ShapeNetPart",
        published=f"ModelNet40 92.7, with votes 93.2; ScanObjectNN, hardest, 83.1 ({LARGER})",
    ),
    replace(
        POINT_MAE,
        name="point-mae-cls",
        title="Point-MAE, fine-tuned classifier (Pang et al. 2022)",
        marks=(*BLOCKS, "cls_token", "cls_pos"),
        without=("reduce_dim.weight", CONTRAST),
        keys=keys_with_token,
        arguments=arguments_with_token,
        prepare=flat_token,
        trained_on=THEN,
        labels=CLASSES,
        published=f"ModelNet40, with votes, 93.8; ScanObjectNN, hardest, 85.2 ({LARGER})",
    ),
    replace(
        as_part_segmentation(POINT_MAE, "ShapeNetPart instance mIoU 86.1"),
        title="Point-MAE, fine-tuned part segmentation (Pang et al. 2022)",
    ),
    POINT_MAE,
)
