"""One pass over all clouds that collects a network's inner features: statistics, attention,
samples."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pointssl.features.layers import layer_outputs, layers_found, on_points
from pointssl.inspection.attention import summarise_entropies, watched_attention
from pointssl.inspection.non_finite import first_not_finite, is_finite
from pointssl.inspection.statistics import LayerSums
from pointssl_datasets.base.errors import UserError


class Batch(NamedTuple):
    """Named clouds: ``xyz (B, N, 3)``, ``feats (B, N, C)`` if the encoder takes them, and the
    indices ``(B, P)`` of the points sampled from each cloud."""

    names: list[str]
    xyz: Tensor
    feats: Tensor | None
    sampled: Tensor


class Inside(NamedTuple):
    """Features inside an encoder.

    Attributes:
        statistics: by layer, see :meth:`LayerSums.statistics`, with its ``attention``.
        attention: by attention module, see :func:`summarise_entropies`.
        xyz: the first clouds ``(S, N, 3)``.
        shown: by layer, features at all points of the first clouds ``(S, N, C)``.
        sampled: by layer, features at the sampled points of all clouds ``(R, C)``.
        unplaced: layers whose places are unknown; ``shown`` and ``sampled`` lack them.
    """

    statistics: dict[str, dict[str, Any]]
    attention: dict[str, dict[str, Any]]
    xyz: Tensor
    shown: dict[str, Tensor]
    sampled: dict[str, Tensor]
    unplaced: list[str]


@torch.no_grad()
def look_inside(encoder: nn.Module, batches: Iterable[Batch], show: int) -> Inside:
    """Pass ``batches`` through ``encoder``, which is in evaluation mode, and collect its features.

    Args:
        show: number of clouds, from the first, of which all features are kept.

    Raises:
        UserError: a feature is not finite; the message names the first module that fails.
    """
    names: tuple[str, ...] | None = None
    sums: dict[str, LayerSums] = {}
    shown: dict[str, list[Tensor]] = {}
    sampled: dict[str, list[Tensor]] = {}
    calls: dict[str, Any] = {}
    outputs: list[Any] = []
    clouds: list[Tensor] = []
    left = show
    handle = encoder.register_forward_hook(lambda module, inputs, output: outputs.append(output))
    try:
        for batch in batches:
            if names is None:
                names = layers_found(encoder, batch.xyz, batch.feats)
                sums = {name: LayerSums() for name in names}
            outputs.clear()
            with watched_attention(encoder) as entropies_by_name:
                layers = layer_outputs(encoder, names, batch.xyz, batch.feats)
            if not is_finite((outputs, list(layers.values()))):
                _raise_not_finite(encoder, batch)
            for name, entropies in entropies_by_name.items():
                calls.setdefault(name, []).extend(entropies)
            rows = torch.arange(len(batch.xyz), device=batch.xyz.device)[:, None]
            for name, layer in layers.items():
                sums[name].add(layer.features)
                placed = on_points(layer, batch.xyz)
                if placed is not None:
                    shown.setdefault(name, []).append(placed[:left].float().cpu())
                    sample = placed[rows, batch.sampled].flatten(0, 1)
                    sampled.setdefault(name, []).append(sample.float().cpu())
            clouds.append(batch.xyz[:left].cpu())
            left -= len(clouds[-1])
    finally:
        handle.remove()
    attention = {name: summarise_entropies(entropies) for name, entropies in calls.items()}
    statistics = {name: sums[name].statistics() for name in sums}
    for name, row in statistics.items():
        row["attention"] = _attention_in(name, attention)
    return Inside(
        statistics,
        attention,
        torch.cat(clouds),
        {name: torch.cat(parts) for name, parts in shown.items()},
        {name: torch.cat(parts) for name, parts in sampled.items()},
        [name for name in sums if name not in shown],
    )


def _attention_in(layer: str, attention: dict[str, dict[str, Any]]) -> dict[str, float] | None:
    """Average over the attention modules in a layer, including the layer itself."""
    inside = [row for name, row in attention.items() if f"{name}.".startswith(f"{layer}.")]
    if not inside:
        return None
    return {key: sum(row[key] for row in inside) / len(inside) for key in ("mean", "uniform")}


def _raise_not_finite(encoder: nn.Module, batch: Batch) -> None:
    """Raise a UserError that names the cloud and the first module that fails."""
    for i, name in enumerate(batch.names):
        feats = None if batch.feats is None else batch.feats[i : i + 1]
        culprit = first_not_finite(encoder, batch.xyz[i : i + 1], feats)
        if culprit is not None:
            raise UserError(f"features of {name} are not finite. The first such are of {culprit}")
    raise UserError(f"features of a batch with {batch.names[0]} are not finite")
