"""`pointssl list`: the parts that options name, and what each of them is."""

import ast
import importlib.util
import json
import re
import textwrap
from collections.abc import Mapping
from pathlib import Path

from pointssl.augment import AUGMENTATIONS
from pointssl.backbones import BACKBONES
from pointssl.config.tools import ListPartsConfig
from pointssl.images import IMAGE_ENCODERS, TIMM
from pointssl.methods import METHODS
from pointssl.probes import PROBES
from pointssl_datasets import DATASETS
from pointssl_datasets.base.errors import UsageError
from pointssl_datasets.base.resolve import nearest
from pointssl_datasets.catalogue import CATALOGUE

# Kind -> the option that takes its names, and the registry.
KINDS: dict[str, tuple[str, Mapping[str, str]]] = {
    "methods": ("pretrain --method", METHODS),
    "backbones": ("--backbone", BACKBONES),
    "datasets": ("--data", DATASETS),
    "probes": ("eval-NAME, pretrain --probe", PROBES),
    "image-encoders": ("pretrain --image-encoder", IMAGE_ENCODERS),
    "augmentations": ("pretrain --augment", AUGMENTATIONS),
}
WIDTH = 100


def run(config: ListPartsConfig) -> dict[str, dict[str, str]]:
    """Print the names of a kind, or of all kinds, with a line about each; returns them.

    Raises:
        UsageError: no such kind; the nearest is named.
    """
    if config.kind is not None and config.kind not in KINDS:
        hint = nearest(config.kind, list(KINDS))
        raise UsageError(f"{config.kind!r}: choose one of {', '.join(KINDS)}{hint}")
    kinds = KINDS if config.kind is None else [config.kind]
    found = {kind: entries(kind) for kind in kinds}
    print(json.dumps(found, indent=2) if config.json else as_text(found))
    return found


def entries(kind: str) -> dict[str, str]:
    """Name -> what it is, in a line."""
    if kind == "datasets":
        return {name: f"{CATALOGUE[name].title}." for name in DATASETS}
    found = {name: first_words(target) for name, target in KINDS[kind][1].items()}
    if kind == "image-encoders":
        found[f"{TIMM}NAME"] = "Any model of timm that gives a vector, if timm is installed."
    return found


def first_words(target: str) -> str:
    """The beginning of the docstring of ``"module:name"``, which is read and not imported: a part
    whose packages are missing is listed all the same.
    """
    module, _, name = target.partition(":")
    place = importlib.util.find_spec(module)
    if place is None or place.origin is None:
        return ""
    tree = ast.parse(Path(place.origin).read_text(encoding="utf-8"))
    docstrings = [
        ast.get_docstring(node) or ""
        for node in tree.body
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and node.name == name
    ]
    paragraph = " ".join("".join(docstrings[:1]).split("\n\n")[0].split())
    plain = re.sub(r"[:;,]? :(?:class|func):.*", "", paragraph)  # what refers to other code
    plain = re.sub(r":\w+:`~?\.?([^`]+)`", r"\1", plain).replace("``", "")
    return plain if plain.endswith((".", "?")) or not plain else f"{plain}."


def as_text(found: Mapping[str, Mapping[str, str]]) -> str:
    """A table for each kind, with the option that takes its names."""
    lines: list[str] = []
    for kind, names in found.items():
        lines += ["", f"{kind} ({KINDS[kind][0]})"]
        width = max(map(len, names))
        for name, text in names.items():
            lines += textwrap.wrap(
                text or "-",
                WIDTH,
                initial_indent=f"  {name:<{width}}  ",
                subsequent_indent=" " * (width + 4),
                break_on_hyphens=False,
            )
    return "\n".join(lines[1:])
