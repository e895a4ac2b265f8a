"""Checkpoints: written whole or not at all, read without running code."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from pointssl.checkpoints.reading import read_file
from pointssl_datasets.base.errors import UserError
from pointssl_datasets.base.writing import write_file

FORMAT = 1
REQUIRED = ("format", "encoder", "facts")
COUNTER = ".num_batches_tracked"


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write ``content`` (tensors and plain values) to ``path`` atomically."""
    for left_over in path.parent.glob(f".{path.name}.*.tmp"):  # of a process killed in the act
        left_over.unlink(missing_ok=True)
    write_file(path, lambda file: torch.save({"format": FORMAT, **content}, file))


def save_network(path: Path, network: nn.Module, metadata: Mapping[str, Any], **more: Any) -> None:
    """Write a method or task and its metadata to ``path``, whole or not at all.

    Args:
        network: has an ``encoder``.
        metadata: see :class:`pointssl.checkpoints.metadata.Metadata`.
        more: tensors and plain values of the run.

    Raises:
        UserError: the folder can't be written, or the disk is full.
    """
    encoder = cast(nn.Module, network.encoder)
    content = {"encoder": encoder.state_dict(), "facts": dict(metadata)}
    save_checkpoint(path, {**content, "method": network.state_dict(), **more})


def load_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint of ours on the CPU; only tensors and plain values are unpickled.

    Raises:
        UserError: missing, truncated, not a checkpoint of pointssl, or holding code.
    """
    content = read_file(path)
    if not is_ours(content, path):
        found = list(content)[:4] if isinstance(content, dict) else [type(content).__name__]
        raise UserError(
            f"{path} is not a checkpoint of pointssl: expected the keys {', '.join(REQUIRED)}, "
            f"found {', '.join(map(str, found))}"
        )
    return cast(dict[str, Any], content)


def is_ours(content: Any, path: Path) -> bool:
    """Whether what a file holds is a checkpoint that this version reads.

    Raises:
        UserError: it is one of a newer version.
    """
    version = content.get("format") if isinstance(content, dict) else None
    if isinstance(version, int) and version > FORMAT:
        raise UserError(
            f"{path} was written by a newer pointssl (format {version}, this one reads {FORMAT}): "
            "update pointssl"
        )
    return isinstance(content, dict) and all(key in content for key in REQUIRED)


def check_weights(module: nn.Module, weights: Mapping[str, Tensor], where: Path | str) -> None:
    """Every key and every shape, of tensors that are as large in the file as they say.

    Only batch norms' counters may be missing: nothing here reads them, and old files lack them.

    Args:
        module: of which the shapes alone matter: it may be on the meta device.

    Raises:
        UserError: names the first keys that are missing, unexpected, no plain tensors or of another
            shape, or of whole or complex numbers.
    """
    own = module.state_dict()
    missing = [key for key in own if key not in weights and not key.endswith(COUNTER)]
    extra = [str(key) for key in weights if key not in own]
    odd = [key for key in own if key in weights and not is_plain(weights[key])]
    whole = [
        key
        for key in own
        if key in weights
        and key not in odd
        and own[key].is_floating_point() > weights[key].is_floating_point()
    ]
    shapes = [
        f"{key} {tuple(weights[key].shape)} instead of {tuple(own[key].shape)}"
        for key in own
        if key in weights and key not in odd and weights[key].shape != own[key].shape
    ]
    problems = [
        ("missing", missing),
        ("unexpected", extra),
        ("no plain tensors", odd),
        ("of no floating-point numbers", whole),
        ("of another shape", shapes),
    ]
    told = [f"{len(keys)} {kind} ({', '.join(keys[:2])})" for kind, keys in problems if keys]
    if told:
        raise UserError(
            f"{where} does not fit this {type(module).__name__}: {'; '.join(told)}. "
            "Is it of another backbone, or with other arguments?"
        )


def is_plain(value: Any) -> bool:
    """A dense tensor with all its numbers: one number can be shown as a tensor of any size."""
    return (
        isinstance(value, Tensor)
        and value.layout == torch.strided
        and not (value.is_meta or value.is_nested or value.is_quantized)
        and value.numel() * value.element_size() <= value.untyped_storage().nbytes()
    )


def load_weights(module: nn.Module, weights: Mapping[str, Tensor], where: Path | str) -> None:
    """Load strictly: every key, every shape.

    Raises:
        UserError: as :func:`check_weights`.
    """
    check_weights(module, weights, where)
    counters = {key: value for key, value in module.state_dict().items() if key.endswith(COUNTER)}
    module.load_state_dict({**counters, **weights})
