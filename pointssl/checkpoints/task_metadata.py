"""A look at the facts of a fine-tuned checkpoint before anything is built from them.

A file may come from anywhere: what it says must be of the right kind, and must agree with itself.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pointssl.checkpoints.metadata import Rules, check_metadata, is_number, is_one_of, is_whole
from pointssl_datasets.base.errors import UserError

CHANNELS = {"normals": 3, "colours": 3, "place": 3}
OF_SCENES = {
    (): "xyz",
    ("colours",): "xyz-rgb",
    ("colours", "place"): "xyz-rgb-place",
}  # of channels, as :mod:`pointssl.tasks.scene_evaluation` calls them
WIDEST = 2**14  # channels of a head


def is_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def is_feats(value: Any) -> bool:
    return is_names(value) and len(set(value)) == len(value) and set(value) <= set(CHANNELS)


def is_widths(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and all(is_whole(v, 1, WIDEST) for v in value)


def is_shares(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and all(is_number(v, 0, 1) for v in value)


FACTS: Rules = {
    "task_args": (lambda v: isinstance(v, dict), "arguments of the head by name"),
    "classes": (is_names, "a list of names"),
    "parts": (is_names, "a list of names"),
    "feats": (is_feats, f"some of {', '.join(CHANNELS)}"),
    "category": (lambda v: is_one_of(v, "given", "none"), "given or none"),
}
EITHER: Rules = {
    "hidden": (is_widths, f"whole numbers from 1 to {WIDEST}"),
    "smoothing": (lambda v: is_number(v, 0, 1), "a number from 0 to 1"),
    "freeze_backbone": (lambda v: isinstance(v, bool), "true or false"),
}
CLOUD_HEAD: Rules = {
    **EITHER,
    "head": (lambda v: is_one_of(v, "mlp", "linear"), "mlp or linear"),
    "slope": (is_number, "a number"),
    "dropout": (lambda v: is_number(v, 0, 1), "a number from 0 to 1"),
}
POINT_HEAD: Rules = {**EITHER, "dropout": (is_shares, "numbers from 0 to 1")}


def channels_of(facts: Mapping[str, Any]) -> tuple[str, ...]:
    """What a point has beside its coordinates; checkpoints of old say no more than ``normals``."""
    return tuple(facts.get("feats", ["normals"] if facts["normals"] else []))


def check_task_metadata(facts: Mapping[str, Any], path: Path) -> None:
    """Types, names and ranges, and as many names as the head has outputs.

    Args:
        facts: checked by :func:`pointssl.checkpoints.metadata.encoder_metadata`; ``task`` is known,
            and ``task_args``, ``classes`` and ``parts`` are there.

    Raises:
        UserError: names the file and the first fact that can't be.
    """
    check_metadata(facts, FACTS, path)
    args, classes, parts = facts["task_args"], facts["classes"], facts["parts"]
    if facts["task"] == "cls":
        rules: Rules = {**CLOUD_HEAD, "classes": _exactly(len(classes), "names in classes")}
        needed = "classes"
    else:
        kinds = len(classes)
        rules = {
            **POINT_HEAD,
            "parts": _exactly(len(parts), "names in parts"),
            "categories": (
                lambda v: is_whole(v, 0, kinds) and v in (0, kinds),
                f"0, or {kinds} as there are names in classes",
            ),
        }
        needed = "parts"
    check_metadata({needed: None, **args}, rules, f"{path}: task_args")
    if needed == "parts":
        _check_points(facts, path)
    check_metadata(
        {"parts_of": None, **facts}, {"parts_of": _numbers(len(classes), len(parts))}, path
    )


def _exactly(count: int, what: str) -> tuple[Any, str]:
    expected = max(count, 1)  # a head without outputs says nothing
    return (lambda v: is_whole(v, expected, expected), f"{expected} as there are {what}")


def _numbers(kinds: int, parts: int) -> tuple[Any, str]:
    """Of ``parts_of``: nothing, or for each category the numbers of its parts."""

    def of_one(value: Any) -> bool:
        return isinstance(value, list) and bool(value) and all(
            is_whole(number, 0, parts - 1) for number in value
        )  # fmt: skip

    def fits(value: Any) -> bool:
        if value is None or value == []:
            return True
        return isinstance(value, list) and len(value) == kinds and all(map(of_one, value))

    return fits, f"for each of {kinds} categories the numbers of its parts, from 0 to {parts - 1}"


def _check_points(facts: Mapping[str, Any], path: Path) -> None:
    """What only a network that labels points has."""
    args = facts["task_args"]
    layers = len(args.get("hidden", (0, 0, 0)))
    if not 0 < layers == len(args.get("dropout", (0, 0, 0))):
        raise UserError(
            f"{path}: task_args: expected at least one hidden layer, and a dropout for each"
        )
    told = bool(args.get("categories", 0))
    if facts["task"] == "partseg":
        if "category" in facts and told != (facts["category"] == "given"):
            raise UserError(
                f"{path}: category is {facts['category']}, and its head has "
                f"{args.get('categories', 0)} categories: is it damaged?"
            )
        return
    if channels_of(facts) not in OF_SCENES or told:
        raise UserError(
            f"{path}: a network for scenes takes coordinates, colours and place, and no "
            f"category; this one takes {', '.join(channels_of(facts)) or 'none of them'}"
            f"{' and a category' if told else ''}"
        )
    block = {"block_size": (lambda v: is_number(v, 0.01, 1000), "a number from 0.01 to 1000")}
    check_metadata({"block_size": None, **facts}, block, path)
