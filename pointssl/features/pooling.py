"""Which feature of a cloud an evaluation uses: of which layer, and how it is pooled."""

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
        pool: ``max``, ``mean`` or ``cls``, or two of them concatenated, as in ``max+mean``. ``max``
            and ``mean`` are over the points or groups of the layer without the class token. If only
            a layer is given: ``max+mean``.
        layer: one of the encoder's ``layers``, or the name of one of its modules; by default the
            layer that its own cloud feature pools.

    Raises:
        UsageError: there is no such layer, or it has no class token for ``cls``.
    """
    if pool is None and layer is None:
        feature: Tensor = encoder(xyz, feats).cloud
        return feature
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
    """The layer that the encoder's own cloud feature pools."""
    names = layer_names(encoder)
    if not names:
        raise UsageError(
            f"--pool: {type(encoder).__name__} does not name its layers; name one with --layer, or "
            "give the class an attribute `layers`"
        )
    return names[-1]


def named_feature(encoder: nn.Module, pool: str | None, layer: str | None) -> str:
    """Which feature :func:`cloud_feature` returns, in words, for results and cache keys."""
    if pool is None and layer is None:
        return BACKBONES_OWN
    return f"{pool or 'max+mean'} over {layer or default_layer(encoder)}"
