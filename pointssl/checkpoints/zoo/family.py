"""What is known of a public code base's checkpoints."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

Weights = Mapping[str, Tensor]
# What a file was trained on, as our own checkpoints say it: read where leakage is looked for.
S3DIS_BUT_5 = "s3dis areas 12346"
S3DIS_UNNAMED = "s3dis areas that are not named"
NORM = ("weight", "bias", "running_mean", "running_var")
UNIT = {"points": 1024, "normalise": "unit-sphere", "up_axis": "y"}  # how most serve an object


def as_they_are(weights: Weights) -> Weights:
    return weights


@dataclass(frozen=True, kw_only=True)
class Family:
    """Checkpoints of one public code base and one of its networks.

    Attributes:
        name: for people, e.g. ``"crosspoint-cls"``.
        title: the network and who published it.
        source: where.
        backbone: ours.
        marks: keys that such a file has, below whatever prefix.
        without: keys of which it has none.
        fits: a further look at the tensors of ``marks``, where keys alone don't tell.
        keys: of the encoder: ours -> theirs, given their weights without prefixes. Norms' counters
            are left out. Trailing dimensions of 1, as convolutions have them, are taken off later.
        prepare: what must be done to the encoder's tensors.
        arguments: of our backbone, as the shapes of these reveal them.
        recipe: arguments of our backbone that shapes don't reveal.
        note: a line for whoever opens such a file.
        serve: how it was given clouds: ``points``, ``normalise``, ``up_axis``.
        trained_on: which data; with labels if ``labels`` says of what.
        published, measured: numbers, the authors' and ours.
        refused: why such a file can be recognised but not loaded.
    """

    name: str
    title: str
    source: str
    backbone: str
    marks: tuple[str, ...]
    without: tuple[str, ...] = ()
    fits: Callable[[Weights], bool] = bool
    keys: Callable[[Weights], dict[str, str]]
    arguments: Callable[[Weights], dict[str, Any]]
    prepare: Callable[[Weights], Weights] = as_they_are
    recipe: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""
    serve: Mapping[str, Any] = field(default_factory=dict)
    trained_on: str
    labels: str = ""
    published: str = ""
    measured: str = "not measured"
    refused: str = ""


def linear_and_norm(ours: str, linear: str, norm: str, number: str = "") -> dict[str, str]:
    """``ours.linear``, ``ours.norm`` (with a ``number`` behind) -> their layer without bias and its
    batch norm."""
    keys = {f"{ours}.linear{number}.weight": f"{linear}.weight"}
    return keys | {f"{ours}.norm{number}.{name}": f"{norm}.{name}" for name in NORM}


def renamed(ours: str, theirs: str, *names: str) -> dict[str, str]:
    """``ours.name`` -> ``theirs.name`` for each name; ``weight`` and ``bias`` unless given."""
    return {f"{ours}.{name}": f"{theirs}.{name}" for name in names or ("weight", "bias")}


def count(weights: Weights, pattern: str) -> int:
    r"""How many modules there are of a name with a number in it, e.g. ``blocks\.(\d{1,3})\.``.

    Where numbers are left out a key made of the count is missing, and with it the encoder.
    """
    found = (re.match(pattern, key) for key in weights)
    return len({match[1] for match in found if match})
