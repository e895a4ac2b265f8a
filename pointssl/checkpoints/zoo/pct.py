"""PCT in the key names of Strawberry-Eat-Mango/PCT_Pytorch."""

from typing import Any

from pointssl.checkpoints.zoo.family import NORM, UNIT, Family, Weights, linear_and_norm, renamed

LAST = "pt_last"


def _attentions(weights: Weights) -> int:
    return sum(f"{LAST}.sa{i}.k_conv.weight" in weights for i in range(1, 100))


def keys(weights: Weights) -> dict[str, str]:
    table: dict[str, str] = {}
    for i in (1, 2):
        table |= linear_and_norm(f"point_layers.{i - 1}", f"conv{i}", f"bn{i}")
        table |= linear_and_norm(f"before.{i - 1}", f"{LAST}.conv{i}", f"{LAST}.bn{i}")
        ours, theirs = f"embeddings.{i - 1}.edge_conv", f"gather_local_{i - 1}"
        for number in "12":
            table |= linear_and_norm(ours, f"{theirs}.conv{number}", f"{theirs}.bn{number}", number)
    for i in range(_attentions(weights)):
        ours, theirs = f"attentions.{i}", f"{LAST}.sa{i + 1}"
        table |= renamed(f"{ours}.query", f"{theirs}.k_conv", "weight")  # the weight of q_conv too
        table |= renamed(f"{ours}.value", f"{theirs}.v_conv")
        table |= renamed(f"{ours}.layer.linear", f"{theirs}.trans_conv")
        table |= renamed(f"{ours}.layer.norm", f"{theirs}.after_norm", *NORM)
    return table | linear_and_norm("last", "conv_fuse.0", "conv_fuse.1")


def arguments(weights: Weights) -> dict[str, Any]:
    return {
        "in_channels": weights["conv1.weight"].shape[1],
        "channels": [len(weights[f"conv{i}.weight"]) for i in (1, 2)],
        "local_channels": [len(weights[f"gather_local_{i}.conv1.weight"]) for i in (0, 1)],
        "attentions": _attentions(weights),
        "embedding": len(weights["conv_fuse.0.weight"]),
    }


FAMILIES = (
    Family(
        name="pct-cls",
        title="PCT_Pytorch, classifier (Guo et al. 2021)",
        source="https://github.com/Strawberry-Eat-Mango/PCT_Pytorch",
        backbone="pct",
        marks=(
            "gather_local_0.conv1.weight",
            "gather_local_1.conv1.weight",
            f"{LAST}.sa1.k_conv.weight",
            "conv_fuse.0.weight",
        ),
        keys=keys,
        arguments=arguments,
        # Its farthest point sampling starts with the first point.
        recipe={"k": 32, "centres": [512, 256], "start": "first"},
        serve=UNIT,
        trained_on="ModelNet40",
        labels="classes of ModelNet40",
        published="ModelNet40 accuracy 93.2",
        measured="logits of random weights equal the public code's to 1e-6",
    ),
)
