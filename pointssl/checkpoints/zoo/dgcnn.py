"""DGCNN in the key names that WangYueFt/dgcnn introduced and the field kept."""

from dataclasses import replace
from typing import Any

from pointssl.checkpoints.zoo.family import (
    S3DIS_UNNAMED,
    UNIT,
    Family,
    Weights,
    linear_and_norm,
    renamed,
)

CLS_MARKS = ("conv1.0.weight", "bn1.weight", "conv4.0.weight", "conv5.0.weight", "bn5.weight")
SEG_MARKS = (*CLS_MARKS, "conv6.0.weight", "bn6.weight")
TNET = "transform_net"


def _is_cls(weights: Weights) -> bool:
    """The fifth layer is point-wise (a kernel of one dimension), not on edges."""
    return weights["conv5.0.weight"].dim() == 3


def cls_keys(weights: Weights) -> dict[str, str]:
    keys: dict[str, str] = {}
    for i in range(4):
        keys |= linear_and_norm(f"edge_convs.{i}", f"conv{i + 1}.0", f"bn{i + 1}")
    return keys | linear_and_norm("last", "conv5.0", "bn5")


def cls_arguments(weights: Weights) -> dict[str, Any]:
    return {
        "in_channels": weights["conv1.0.weight"].shape[1] // 2,
        "channels": [len(weights[f"conv{i}.0.weight"]) for i in range(1, 5)],
        "embedding": len(weights["conv5.0.weight"]),
    }


def seg_keys(weights: Weights) -> dict[str, str]:
    keys = {
        **linear_and_norm("edge_conv1", "conv1.0", "bn1", "1"),
        **linear_and_norm("edge_conv1", "conv2.0", "bn2", "2"),
        **linear_and_norm("edge_conv2", "conv3.0", "bn3", "1"),
        **linear_and_norm("edge_conv2", "conv4.0", "bn4", "2"),
        **linear_and_norm("edge_conv3", "conv5.0", "bn5"),
        **linear_and_norm("last", "conv6.0", "bn6"),
    }
    if f"{TNET}.conv1.0.weight" not in weights:
        return keys
    third = f"{TNET}.bn3"  # the fully connected layer's; its number is used twice
    return {
        **keys,
        **linear_and_norm(f"{TNET}.edge_conv", f"{TNET}.conv1.0", f"{TNET}.bn1", "1"),
        **linear_and_norm(f"{TNET}.edge_conv", f"{TNET}.conv2.0", f"{TNET}.bn2", "2"),
        # The public class overwrites its bn3; the one it used first stays inside the Sequential.
        **linear_and_norm(f"{TNET}.point_layer", f"{TNET}.conv3.0", f"{TNET}.conv3.1"),
        **linear_and_norm(TNET, f"{TNET}.linear1", third, "1"),
        **linear_and_norm(TNET, f"{TNET}.linear2", f"{TNET}.bn4", "2"),
        **renamed(f"{TNET}.matrix", f"{TNET}.transform"),
    }


def seg_arguments(weights: Weights) -> dict[str, Any]:
    channels = weights["conv1.0.weight"].shape[1] // 2
    return {
        "in_channels": channels,
        "channels": len(weights["conv1.0.weight"]),
        "embedding": len(weights["conv6.0.weight"]),
        "align": f"{TNET}.conv1.0.weight" in weights,
        # With nine channels the neighbours are sought by the place within the room.
        "neighbour_channels": [6, 7, 8] if channels == 9 else [0, 1, 2],
    }


ANY = Family(
    name="dgcnn",
    title="DGCNN with the field's usual keys, of no code base that is known here",
    source="https://github.com/WangYueFt/dgcnn",
    backbone="dgcnn",
    marks=CLS_MARKS,
    fits=_is_cls,
    keys=cls_keys,
    arguments=cls_arguments,
    recipe={"k": 20},
    serve=UNIT,
    trained_on="unknown",
)
ANY_SEG = replace(
    ANY,
    name="dgcnn-seg",
    title="segmentation DGCNN with the field's usual keys, of no code base that is known here",
    backbone="dgcnn_seg",
    marks=SEG_MARKS,
    fits=lambda weights: not _is_cls(weights),
    keys=seg_keys,
    arguments=seg_arguments,
    recipe={"k": 20},
    serve={**UNIT, "points": 2048},
)
CROSSPOINT = "https://github.com/MohamedAfham/CrossPoint"
DGCNN_PYTORCH = "https://github.com/antao97/dgcnn.pytorch"

FAMILIES = (
    replace(
        ANY,
        name="crosspoint-cls",
        title="CrossPoint and CrossPoint-DDP, DGCNN (Afham et al. 2022)",
        source=CROSSPOINT,
        marks=(*CLS_MARKS, "inv_head.0.weight"),
        recipe={"k": 15},  # of its script and notebook; 20 is the code's default
        trained_on="ShapeNet (43,783 clouds of 13 categories, with renderings)",
        published="linear SVM: ModelNet40 91.2, ScanObjectNN 81.7; others, from the released "
        "weights: 89.7 to 90.3, and 75.7",
    ),
    replace(
        ANY_SEG,
        name="crosspoint-seg",
        title="CrossPoint and CrossPoint-DDP, part-segmentation DGCNN (Afham et al. 2022)",
        source=CROSSPOINT,
        marks=(*SEG_MARKS, f"{TNET}.conv1.0.weight", "inv_head.0.weight"),
        recipe={"k": 40},  # of its part segmentation
        trained_on="ShapeNet (43,783 clouds of 13 categories, with renderings)",
        published="ShapeNetPart instance mIoU 85.5, fine-tuned",
    ),
    replace(
        ANY,
        name="occo",
        title="OcCo, DGCNN that completes occluded clouds (Wang et al. 2021)",
        source="https://github.com/hansen7/OcCo",
        marks=(*CLS_MARKS, "folding1.0.weight"),
        trained_on="ModelNet40 (views occluded from ten cameras a shape)",
        published="linear SVM: ModelNet40 89.2, ScanObjectNN 78.3",
        note="its pretraining pools the maximum alone: see --pool max",
    ),
    replace(
        ANY,
        name="strl",
        title="STRL, BYOL on DGCNN (Huang et al. 2021)",
        source="https://github.com/yichen928/STRL",
        marks=(*CLS_MARKS, "projector.0.weight"),
        recipe={"k": 40},
        serve={**UNIT, "points": 2048},
        trained_on="ShapeNet",
        published="linear SVM: ModelNet40 90.9",
        measured="linear SVM, ModelNet10, k 20, raw features, best C on test: 94.3",
    ),
    replace(
        ANY_SEG,
        name="strl-seg",
        title="STRL, BYOL on the segmentation DGCNN (Huang et al. 2021)",
        source="https://github.com/yichen928/STRL",
        marks=(*SEG_MARKS, "projector.0.weight"),
        recipe={"k": 40},
        trained_on="ShapeNet or ScanNet",
    ),
    replace(
        ANY,
        name="dgcnn-pytorch-cls",
        title="dgcnn.pytorch, classifier (Wang et al. 2019)",
        source=DGCNN_PYTORCH,
        marks=(*CLS_MARKS, "linear1.weight", "bn6.weight", "linear2.weight", "linear3.weight"),
        trained_on="ModelNet40",
        labels="classes of ModelNet40",
        published="ModelNet40 accuracy 92.9 with 1024 points, 93.5 with 2048",
    ),
    replace(
        ANY_SEG,
        name="dgcnn-pytorch-partseg",
        title="dgcnn.pytorch, part segmentation (Wang et al. 2019)",
        source=DGCNN_PYTORCH,
        marks=(*SEG_MARKS, f"{TNET}.conv1.0.weight", "conv11.weight"),
        recipe={"k": 40},
        trained_on="ShapeNetPart",
        labels="parts of ShapeNetPart",
        published="ShapeNetPart instance mIoU 85.2, class mIoU 82.3",
    ),
    replace(
        ANY_SEG,
        name="dgcnn-pytorch-s3dis",
        title="dgcnn.pytorch, scene segmentation (Wang et al. 2019)",
        source=DGCNN_PYTORCH,
        marks=(*SEG_MARKS, "conv9.weight"),
        without=(f"{TNET}.conv1.0.weight",),
        recipe={"k": 20},
        serve={"points": 4096, "normalise": "none", "up_axis": "z"},
        trained_on=S3DIS_UNNAMED,  # five of the six, as its name may tell
        labels="things in the rooms of S3DIS",
        published="S3DIS six-fold mIoU 59.2, accuracy 85.0",
        measured="logits of the published Area-6 weights equal the public code's to 1e-5",
    ),
    ANY,
    ANY_SEG,
)
