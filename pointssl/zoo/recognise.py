"""Whose weights are these, and which of our keys is which of theirs."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pointssl.engine.checkpoint import COUNTER
from pointssl.zoo import families
from pointssl.zoo.family import Family, Weights
from pointssl_datasets.errors import UserError

# Of two encoders in one file that which is trained.
PREFERRED = ("online", "student", "query", "transformer_q")


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
    for family in families():
        prefixes = prefixes_of(family, weights)
        if prefixes:
            return _convert(family, prefixes, weights, path)
    known = ", ".join(sorted({family.name for family in families()}))
    first = ", ".join(list(weights)[:3])
    raise UserError(
        f"{path}: {len(weights)} tensors of no network that is known here ({first}, ...). "
        f"Known: {known}; see `pointssl zoo`"
    )


def prefixes_of(family: Family, weights: Weights) -> list[str]:
    """Prefixes below which the weights have what marks the family; the preferred one first."""
    mark = family.marks[0]
    candidates = [key.removesuffix(mark) for key in weights if _ends_with(key, mark)]
    fitting = []
    for prefix in candidates:
        marked = all(prefix + key in weights for key in family.marks)
        other = any(prefix + key in weights for key in family.without)
        if marked and not other and family.fits(below(weights, prefix)):
            fitting.append(prefix)
    return sorted(fitting, key=lambda p: (not any(word in p for word in PREFERRED), len(p)))


def _ends_with(key: str, mark: str) -> bool:
    return key == mark or key.endswith("." + mark)


def below(weights: Weights, prefix: str) -> dict[str, Tensor]:
    """The tensors whose keys begin with the prefix, without it."""
    return {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}


def _convert(family: Family, prefixes: list[str], weights: Weights, path: Path) -> Recognised:
    if family.refused:
        raise UserError(f"{path}: {family.title}. {family.refused}")
    prefix = prefixes[0]
    theirs = family.prepare(below(weights, prefix))
    keys = family.keys(theirs)
    missing = [key for key in keys.values() if key not in theirs]
    if missing:
        raise UserError(
            f"{path}: recognised as {family.name} ({family.title}), but {len(missing)} tensors of "
            f"the encoder are missing ({', '.join(missing[:3])}): an encoder is loaded whole or "
            "not at all"
        )
    ours = {our: flat(theirs[their]) for our, their in keys.items()}
    notes = []
    if len(prefixes) > 1:
        notes.append(f"the file holds {len(prefixes)} such networks: {prefix!r} was taken")
    return Recognised(
        family,
        prefix,
        ours,
        {**family.recipe, **family.arguments(theirs)},
        left_over(weights, prefix, theirs, set(keys.values())),
        tuple(notes),
    )


def flat(value: Tensor) -> Tensor:
    """A kernel ``(O, I, 1)`` or ``(O, I, 1, 1)`` as the matrix ``(O, I)`` that it is."""
    if value.dim() > 2 and all(size == 1 for size in value.shape[2:]):
        return value.reshape(value.shape[:2])
    return value


def left_over(weights: Weights, prefix: str, theirs: Weights, used: set[str]) -> dict[str, int]:
    """Tensors that were not loaded, counted by the first part of their key.

    Counters of norms do not count, nor do second names of a tensor that was loaded: public code
    registers a norm both as ``bn1`` and inside ``conv1``.
    """
    loaded: dict[Any, list[Tensor]] = {}
    for key in used:
        loaded.setdefault((theirs[key].shape, _kind(key)), []).append(theirs[key])
    left: list[str] = []
    for key, value in weights.items():
        name = key.removeprefix(prefix) if key.startswith(prefix) else key
        known = name in used and key.startswith(prefix)
        if known or key.endswith(COUNTER) or not isinstance(value, Tensor):
            continue
        twins = loaded.get((value.shape, _kind(key)), [])
        if not any(torch.equal(value, twin) for twin in twins):
            left.append(name)
    return dict(Counter(_first_part(name) for name in left))


def _kind(key: str) -> str:
    return key.rpartition(".")[2]


def _first_part(name: str) -> str:
    return name.partition(".")[0]


def listed(left: Mapping[str, int], most: int = 6) -> str:
    """``"linear1 (1), linear2 (2)"``."""
    names = [f"{name} ({count})" for name, count in left.items()]
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
