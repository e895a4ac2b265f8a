"""Any file with an encoder, as a checkpoint of ours."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save

from pointssl.backbones.build import with_defaults
from pointssl.checkpoints.file import FORMAT, is_ours, save_checkpoint
from pointssl.checkpoints.metadata import Metadata
from pointssl.checkpoints.reading import FACTS, read_file
from pointssl.checkpoints.zoo.recognise import Recognised, listed, recognise
from pointssl.checkpoints.zoo.unwrap import unwrapped
from pointssl_datasets.base.errors import UsageError
from pointssl_datasets.base.writing import write_bytes

SUFFIXES = (".pt", ".safetensors")  # of what `pointssl import` writes


def open_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint of ours, or a public one with its encoder's weights in our names.

    Returns:
        ``encoder``, ``facts`` and so on; ``facts["imported"]`` if it was a public one, which has
        no heads here: they are named as left.

    Raises:
        UserError: unreadable, of no known network, or without a part of its encoder.
    """
    content = read_file(path)
    if is_ours(content, path):
        return dict(content)
    weights, nests = unwrapped(content, path)
    found = recognise(weights, path)
    return {"format": FORMAT, "encoder": found.weights, "facts": metadata_of(found, nests)}


def metadata_of(found: Recognised, nests: tuple[str, ...]) -> Metadata:
    """What a checkpoint of ours would say of the encoder."""
    family = found.family
    return {
        "backbone": family.backbone,
        "backbone_args": with_defaults(family.backbone, found.arguments),
        "points": family.serve.get("points", 1024),
        "normals": family.serve.get("normals", found.arguments.get("in_channels") == 6),
        "normalise": family.serve.get("normalise", "unit-sphere"),
        "up_axis": family.serve.get("up_axis", "y"),
        "classes": [],
        "trained_on": {"dataset": family.trained_on, "fingerprint": None, "members": []},
        "imported": {
            "family": family.name,
            "title": family.title,
            "source": family.source,
            "labels": family.labels,
            "under": ".".join((*nests, found.prefix.rstrip("."))).strip("."),
            "loaded": len(found.weights),
            "left": found.left,
            "recipe": sorted(family.recipe),
            "notes": list(found.notes),
        },
    }


def describe_import(metadata: Metadata) -> list[str]:
    """Lines about a public checkpoint: what it is, what of it was loaded, what was assumed.

    Args:
        metadata: as :func:`pointssl.checkpoints.metadata.encoder_metadata` returns them; there
            are no lines about one of our own files.
    """
    imported = metadata.get("imported")
    if not imported:
        return []
    under = f", under {imported['under']!r}" if imported["under"] else ""
    left = listed(imported["left"]) or "nothing"
    arguments = metadata["backbone_args"]
    recipe = [f"{name} {arguments.get(name)}" for name in imported["recipe"]]
    recipe += [f"{metadata['points']} points", f"normalise {metadata['normalise']}"]
    lines = [
        f"recognised {imported['family']}: {imported['title']}, {imported['source']}",
        f"loaded {imported['loaded']} tensors into {metadata['backbone']}{under}; missing: none; "
        f"left (tensors): {left}",
        f"not in the file, taken from its recipe: {', '.join(recipe)}, {metadata['up_axis']} up",
    ]
    if imported["labels"]:
        lines.append(f"the encoder was trained with labels: {imported['labels']}")
    return [*lines, *imported["notes"]]


def save_encoder(path: Path, checkpoint: Mapping[str, Any]) -> None:
    """Write the encoder and the facts of a checkpoint as ``.pt`` or ``.safetensors``.

    Raises:
        UsageError: another suffix.
        UserError: the file can't be written.
    """
    content = {name: checkpoint[name] for name in ("encoder", "facts")}
    if path.suffix == ".safetensors":
        tensors = {name: value.contiguous().clone() for name, value in content["encoder"].items()}
        facts = json.dumps({"format": FORMAT, "facts": content["facts"]})
        written = save(tensors, {FACTS: facts})
        write_bytes(path, written)
    elif path.suffix == ".pt":
        save_checkpoint(path, content)
    else:
        raise UsageError(f"{path}: expected a name that ends in {' or '.join(SUFFIXES)}")
