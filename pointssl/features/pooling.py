"""Which feature of a cloud an evaluation sees: of which layer, and pooled how."""

from typing import Any

import torch
from torch import Tensor, nn

from pointssl.features.layers import Layer, layer_names, layer_outputs
from pointssl_datasets.base.errors import UsageError

BACKBONES_OWN = "cloud feature of the backbone"


def cloud_feature(
    encoder: Any,
    xyz: Tensor,
    feats: Tensor | None = None,
    *,
    pool: str | None = None,
    layer: str | None = None,
) -> Tensor:
    """``(B, D)``: the backbone's own cloud feature, unless a pooling or a layer is named.

    Args:
        pool: ``max``, ``mean``, ``cls``, or two of them as ``max+mean``, side by side; over the
            points or groups of the layer, the class token aside. With a layer alone ``max+mean``.
        layer: one of the encoder's ``layers`` or of its modules' names; by default the one that
            its own cloud feature pools.

    Raises:
        UsageError: no such layer, or a class token is asked for where there is none.
    """
    if pool is None and layer is None:
        found: Tensor = encoder(xyz, feats).cloud
        return found
    name = layer or default_layer(encoder)
    return pooled(layer_outputs(encoder, [name], xyz, feats)[name], pool or "max+mean", name)


def pooled(layer: Layer, pool: str, name: str) -> Tensor:
    """The features of a layer, pooled over its points: ``(B, D)``."""
    if "cls" in pool and layer.token is None:
        raise UsageError(
            f"--pool {pool}: the layer {name!r} of this encoder has no class token; "
            "choose max, mean or max+mean"
        )
    parts: dict[str, Any] = {
        "cls": layer.token,
        "max": layer.features.amax(dim=1),
        "mean": layer.features.mean(dim=1),
    }
    return torch.cat([parts[part] for part in pool.split("+")], dim=-1)


def default_layer(encoder: nn.Module) -> str:
    """What the encoder's own cloud feature pools."""
    names = layer_names(encoder)
    if not names:
        raise UsageError(
            f"--pool: {type(encoder).__name__} does not name its layers; name one with --layer, or "
            "give the class an attribute `layers`"
        )
    return names[-1]


def named_feature(encoder: nn.Module, pool: str | None, layer: str | None) -> str:
    """What :func:`cloud_feature` gives, in words for a result and a cache key."""
    if pool is None and layer is None:
        return BACKBONES_OWN
    return f"{pool or 'max+mean'} over {layer or default_layer(encoder)}"
