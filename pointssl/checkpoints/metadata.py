"""What a checkpoint says of its encoder, looked at before anything is done with it."""

import reprlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from pointssl.backbones import BACKBONES
from pointssl_datasets.base.errors import UserError


def encoder_metadata(
    checkpoint: Mapping[str, Any], path: Path, *needed: str, named: str | None = None
) -> dict[str, Any]:
    """The facts of a checkpoint, after a look at what will be done with them.

    Args:
        needed: names of further facts that must be there.
        named: the backbone that the user typed. A class of their own is imported only if they did,
            or have imported its module already: reading a file must not run what it names.

    Raises:
        UserError: facts are missing or not what they should be, or the backbone is not one of ours.
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
    return facts


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
    """What :func:`pointssl.checkpoints.zoo.opening.facts_of` writes."""
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
