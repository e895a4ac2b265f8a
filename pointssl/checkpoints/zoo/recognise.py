"""Whose weights are these, and which of our keys is which of theirs."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pointssl.checkpoints.file import COUNTER, is_plain
from pointssl.checkpoints.zoo import families
from pointssl.checkpoints.zoo.family import Family, Weights
from pointssl_datasets.base.errors import UserError

# Of two encoders in one file that which is trained.
PREFERRED = ("online", "student", "query", "transformer_q")
# What comes of tensors with the keys of a family and shapes that it never has.
MISSHAPEN = (LookupError, TypeError, ValueError, ZeroDivisionError, RuntimeError)


@dataclass(frozen=True)
class Recognised:
    """A family, and its encoder's weights in our names.

    Attributes:
        prefix: below which its keys lie, e.g. ``"backbone."``.
        weights: ours, without the counters of norms.
        arguments: of our backbone: from shapes, and from the recipe.
        left: what was not loaded: first part of the key -> tensors.
        notes: lines for the user.
    """

    family: Family
    prefix: str
    weights: dict[str, Tensor]
    arguments: dict[str, Any]
    left: dict[str, int]
    notes: tuple[str, ...]


def recognise(weights: Weights, path: Path) -> Recognised:
    """The family of a file's tensors, and its encoder.

    Raises:
        UserError: of no family, of one that can't be loaded, or tensors of the encoder are missing.
    """
    candidates = prefixes_by_mark(weights)
    for family in families():
        prefixes = prefixes_of(family, weights, candidates[family.marks[0]])
        if prefixes:
            return _convert(family, prefixes, weights, path)
    first = ", ".join(list(weights)[:3])
    raise UserError(
        f"{path}: {len(weights)} tensors of no network that is known here ({first}, ...); "
        "`pointssl zoo` lists the known ones"
    )


def prefixes_by_mark(weights: Weights) -> dict[str, list[str]]:
    """What stands before the first mark of each family, wherever a key ends with it."""
    marks = {family.marks[0] for family in families()}
    longest = max(mark.count(".") for mark in marks)
    found: dict[str, list[str]] = defaultdict(list)
    for key in weights:
        parts = key.rsplit(".", longest + 1)
        for i in range(len(parts)):
            mark = ".".join(parts[i:])
            if mark in marks:
                found[mark].append(key.removesuffix(mark))
    return found


def prefixes_of(family: Family, weights: Weights, candidates: list[str]) -> list[str]:
    """Those below which the weights have what marks the family; the preferred one first."""
    fitting = [prefix for prefix in candidates if _has_marks(family, weights, prefix)]
    return sorted(fitting, key=lambda p: (not any(word in p for word in PREFERRED), len(p)))


def _has_marks(family: Family, weights: Weights, prefix: str) -> bool:
    if not all(prefix + key in weights for key in family.marks):
        return False
    if any(prefix + key in weights for key in family.without):
        return False
    try:
        return family.fits({key: weights[prefix + key] for key in family.marks})
    except MISSHAPEN:
        return False


def below(weights: Weights, prefix: str) -> dict[str, Tensor]:
    """The tensors whose keys begin with the prefix, without it."""
    return {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}


def _convert(family: Family, prefixes: list[str], weights: Weights, path: Path) -> Recognised:
    if family.refused:
        raise UserError(f"{path}: {family.title}. {family.refused}")
    prefix = prefixes[0]
    named = f"{path}: recognised as {family.name} ({family.title}), but "
    held = below(weights, prefix)
    try:
        keys = family.keys(held)
        used = set(keys.values())
        missing = [key for key in keys.values() if key not in held]
        if missing:
            raise UserError(
                f"{named}{len(missing)} tensors of the encoder are missing "
                f"({', '.join(missing[:3])}): an encoder is loaded whole or not at all"
            )
        odd = [key for key in keys.values() if not _is_floating(held[key])]
        if odd:
            raise UserError(
                f"{named}{len(odd)} tensors of the encoder are no plain tensors of floating-point "
                f"numbers ({', '.join(odd[:3])})"
            )
        theirs = family.prepare({key: held[key] for key in keys.values()})
        arguments = family.arguments(theirs)
        ours = {our: flat(theirs[their]) for our, their in keys.items()}
    except MISSHAPEN:
        raise UserError(f"{named}its tensors have not the shapes of it") from None
    notes = [family.note] if family.note else []
    if len(prefixes) > 1:
        notes.append(f"the file holds {len(prefixes)} such networks: {prefix!r} was taken")
    return Recognised(
        family,
        prefix,
        ours,
        {**family.recipe, **arguments},
        left_over(weights, prefix, used),
        tuple(notes),
    )


def flat(value: Tensor) -> Tensor:
    """A kernel ``(O, I, 1)`` or ``(O, I, 1, 1)`` as the matrix ``(O, I)`` that it is."""
    if value.dim() > 2 and all(size == 1 for size in value.shape[2:]):
        return value.reshape(value.shape[:2])
    return value


def left_over(weights: Weights, prefix: str, used: set[str]) -> dict[str, int]:
    """Tensors that were not loaded, counted by the first part of their key.

    Counters of norms do not count, nor do second names of a tensor that was loaded: public code
    registers a norm both as ``bn1`` and inside ``conv1``.
    """
    loaded: dict[Any, list[Tensor]] = defaultdict(list)
    for key in used:
        value = weights[prefix + key]
        loaded[_outline(key, value)].append(value)
    left: list[str] = []
    for key, value in weights.items():
        name = key.removeprefix(prefix)
        if (key.startswith(prefix) and name in used) or key.endswith(COUNTER):
            continue
        twins = loaded.get(_outline(key, value), []) if _is_floating(value) else []
        if not any(torch.equal(value, twin) for twin in twins):
            left.append(name)
    return dict(Counter(_first_part(name) for name in left))


def _is_floating(value: Tensor) -> bool:
    return is_plain(value) and value.is_floating_point()


def _outline(key: str, value: Tensor) -> Any:
    """What tells most tensors apart without a look at all their numbers."""
    return key.rpartition(".")[2], value.shape, value.dtype, *value.flatten()[:4].tolist()


def _first_part(name: str) -> str:
    return name.partition(".")[0]


def listed(left: Mapping[str, int], most: int = 6) -> str:
    """``"linear1 (1), linear2 (2)"``."""
    names = [f"{name} ({count})" for name, count in left.items()]
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
