"""The metadata of a checkpoint: what it holds, how it is built, and how it is checked when read.

In files its key is ``facts``. Recipes build it by :func:`new_metadata`; whatever opens a file reads
it by :func:`encoder_metadata`, before anything is done with it.
"""

import reprlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypedDict, cast

from torch import Tensor

from pointssl.backbones import BACKBONES
from pointssl.version import __version__
from pointssl_datasets.base.errors import UserError


class Metadata(TypedDict, total=False):
    """Plain values about the weights of a checkpoint; files of old lack some.

    Every checkpoint says how its encoder is built, how clouds are served to it, and what it was
    trained on. Those of fine-tuning have a task; those of other projects say how they were read.
    """

    pointssl: str  # the version that wrote it
    backbone: str
    backbone_args: dict[str, Any]
    points: int  # of a cloud
    normals: bool  # whether the encoder takes them
    normalise: str  # "unit-sphere" or "none"
    up_axis: str  # of the clouds it was trained on
    classes: list[str]
    trained_on: dict[str, Any]  # what the dataset says of itself, without its seed

    method: str  # of pretraining, with its arguments
    method_args: dict[str, Any]
    augment: str
    augment_args: dict[str, Any]
    image_encoder: str

    task: str  # of fine-tuning: a key of TASKS, with the arguments of its head
    task_args: dict[str, Any]
    parts: list[str]
    parts_of: list[list[int]]  # for each category the numbers of its parts
    feats: list[str]  # what a point has beside its coordinates
    category: str  # whether the head is told the category: "given" or "none"
    block_size: float  # of rooms, metres
    test_area: int  # of S3DIS
    protocol: str
    tested_on: str  # fingerprint of the test split
    started_from: str  # hash of the weights

    imported: dict[str, Any]  # how a public checkpoint was recognised and read


def new_metadata(
    *,
    backbone: str,
    backbone_args: dict[str, Any],
    points: int,
    normals: bool,
    normalise: str,
    classes: list[str],
    trained_on: dict[str, Any],
) -> Metadata:
    """What every checkpoint that this version writes says; clouds are served y-up.

    Args:
        trained_on: as a dataset's ``facts()``; its seed is left out, as it only chooses points.
    """
    return Metadata(
        pointssl=__version__,
        backbone=backbone,
        backbone_args=backbone_args,
        points=points,
        normals=normals,
        normalise=normalise,
        up_axis="y",
        classes=classes,
        trained_on={name: value for name, value in trained_on.items() if name != "seed"},
    )


def encoder_metadata(
    checkpoint: Mapping[str, Any], path: Path, *needed: str, named: str | None = None
) -> Metadata:
    """The metadata of a checkpoint, checked before anything is done with it.

    Args:
        needed: names of further values that must be there.
        named: the backbone that the user typed. A class of their own is imported only if they did,
            or have imported its module already: reading a file must not run what it names.

    Raises:
        UserError: values are missing or not what they should be, or the backbone is not ours.
    """
    facts, weights = checkpoint["facts"], checkpoint["encoder"]
    names = ["backbone", "backbone_args", *needed]
    if isinstance(facts, dict) and "imported" in facts:
        names += OF_IMPORTS
    absent = [name for name in names if not isinstance(facts, dict) or name not in facts]
    if not isinstance(weights, dict) or not all(isinstance(w, Tensor) for w in weights.values()):
        absent.append("tensors of the encoder")
    if absent:
        raise UserError(
            f"{path} lacks {', '.join(absent)}: expected a checkpoint of `pointssl pretrain`"
        )
    check_metadata(facts, ENCODER_RULES, path)
    name = facts["backbone"]
    if name not in (*BACKBONES, named) and str(name).partition(":")[0] not in sys.modules:
        raise UserError(
            f"{path} holds the weights of {name!r}, which is not part of pointssl. If you trust "
            f"that code, have it imported with --backbone {name}"
        )
    if name in BACKBONES:
        check_size(facts["backbone_args"], len(weights), path)
    return cast(Metadata, facts)


def check_size(arguments: Mapping[str, Any], tensors: int, path: Path) -> None:
    """A network that needs more layers than there are tensors is not begun: even an outline of
    many thousands would take minutes.

    Raises:
        UserError: names the argument.
    """
    most = max(tensors, FEW)
    for name, value in arguments.items():
        if layers_of(name, value, most) > most:
            raise UserError(
                f"{path}: {name} is {reprlib.repr(value)}, which asks for more layers than its "
                f"{tensors} tensors can fill; is it damaged?"
            )


def layers_of(name: str, value: Any, most: int) -> int:
    """How many layers an argument asks for at least: a number of :data:`COUNTS` so many, a list one
    for each that it holds. Lists of more than ``most`` are not looked at to their end."""
    count, waiting, held = 0, [value], 0
    while waiting and held <= most:
        item = waiting.pop()
        if isinstance(item, (list, tuple)):
            held += len(item)
            waiting += item
        elif name in COUNTS and isinstance(item, int):
            count += max(item, 0)
    return max(count, held)


def is_whole(value: Any, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def is_number(value: Any, low: float = -1e9, high: float = 1e9) -> bool:
    """Not for truth values, nor for what is not finite."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high


def is_one_of(value: Any, *words: str) -> bool:
    return isinstance(value, str) and value in words


def _is_import(value: Any) -> bool:
    """What :func:`pointssl.checkpoints.zoo.opening.metadata_of` writes."""
    texts = ("family", "title", "source", "labels", "under")
    return (
        isinstance(value, dict)
        and all(isinstance(value.get(name), str) for name in texts)
        and isinstance(value.get("loaded"), int)
        and isinstance(value.get("left"), dict)
        and all(isinstance(value.get(name), list) for name in ("recipe", "notes"))
        and all(isinstance(line, str) for name in ("recipe", "notes") for line in value[name])
    )


OF_IMPORTS = ("points", "normalise", "up_axis")
FEW = 32  # layers are begun whatever the tensors: arguments may be of parts that are not there
COUNTS = ("depth", "depths", "blocks", "attentions", "up_depth")  # arguments of our backbones

Rules = Mapping[str, tuple[Callable[[Any], bool], str]]
ENCODER_RULES: Rules = {
    "backbone": (lambda v: isinstance(v, str), "a name"),
    "backbone_args": (
        lambda v: isinstance(v, dict) and all(isinstance(key, str) for key in v),
        "arguments by name",
    ),
    "points": (lambda v: is_whole(v, 1, 10**7), "a whole number from 1 to 10000000"),
    "normals": (lambda v: isinstance(v, bool), "true or false"),
    "normalise": (lambda v: is_one_of(v, "unit-sphere", "none"), "unit-sphere or none"),
    "up_axis": (lambda v: is_one_of(v, "x", "y", "z"), "x, y or z"),
    "imported": (lambda v: _is_import(v), "facts of an import"),
    "trained_on": (
        lambda v: (
            isinstance(v, dict)
            and isinstance(v.get("fingerprint"), (str, type(None)))
            and isinstance(v.get("members", []), list)
            and all(isinstance(member, str) for member in v.get("members", []))
        ),
        "facts of the data",
    ),
}


def check_metadata(facts: Mapping[str, Any], rules: Rules, where: Path | str) -> None:
    """What is in ``facts`` keeps the ``rules``: for each name a test and what is expected.

    Raises:
        UserError: names the first that does not.
    """
    for name, (fits, expected) in rules.items():
        if name in facts and not fits(facts[name]):
            found = " ".join(reprlib.repr(facts[name]).split())
            raise UserError(f"{where}: {name} is {found}, expected {expected}; is it damaged?")
