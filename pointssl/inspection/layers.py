"""One look at the features inside an encoder, over all clouds: statistics, attention, samples."""

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
    """Clouds by name; ``xyz (B, N, 3)``, ``feats (B, N, C)`` if the encoder takes such; and of each
    cloud the points that are sampled, ``(B, P)``."""

    names: list[str]
    xyz: Tensor
    feats: Tensor | None
    sampled: Tensor


class Inside(NamedTuple):
    """What was found.

    Attributes:
        statistics: of each layer, see :meth:`LayerSums.statistics`, and its ``attention``.
        attention: of each module that has some, see :func:`summarise_entropies`.
        xyz: the first clouds ``(S, N, 3)``.
        shown: features of each layer at all their points ``(S, N, C)``.
        sampled: at the sampled points of all clouds ``(R, C)``.
        unplaced: layers whose places are not known; they are in neither of the two.
    """

    statistics: dict[str, dict[str, Any]]
    attention: dict[str, dict[str, Any]]
    xyz: Tensor
    shown: dict[str, Tensor]
    sampled: dict[str, Tensor]
    unplaced: list[str]


@torch.no_grad()
def look_inside(encoder: nn.Module, batches: Iterable[Batch], show: int) -> Inside:
    """Passes ``batches`` through ``encoder``, which is in evaluation mode.

    Args:
        show: of how many clouds, from the first on, all features are kept.

    Raises:
        UserError: a feature is not finite; it is said where that begins.
    """
    names: tuple[str, ...] | None = None
    sums: dict[str, LayerSums] = {}
    shown: dict[str, list[Tensor]] = {}
    sampled: dict[str, list[Tensor]] = {}
    calls: dict[str, Any] = {}
    given: list[Any] = []
    clouds: list[Tensor] = []
    left = show
    handle = encoder.register_forward_hook(lambda module, inputs, output: given.append(output))
    try:
        for batch in batches:
            if names is None:
                names = layers_found(encoder, batch.xyz, batch.feats)
                sums = {name: LayerSums() for name in names}
            given.clear()
            with watched_attention(encoder) as found:
                layers = layer_outputs(encoder, names, batch.xyz, batch.feats)
            if not is_finite((given, list(layers.values()))):
                _explain(encoder, batch)
            for name, entropies in found.items():
                calls.setdefault(name, []).extend(entropies)
            rows = torch.arange(len(batch.xyz), device=batch.xyz.device)[:, None]
            for name, layer in layers.items():
                sums[name].add(layer.features)
                placed = on_points(layer, batch.xyz)
                if placed is not None:
                    shown.setdefault(name, []).append(placed[:left].float().cpu())
                    taken = placed[rows, batch.sampled].flatten(0, 1)
                    sampled.setdefault(name, []).append(taken.float().cpu())
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
    """Mean over the modules with attention in a layer, itself included."""
    inside = [row for name, row in attention.items() if f"{name}.".startswith(f"{layer}.")]
    if not inside:
        return None
    return {key: sum(row[key] for row in inside) / len(inside) for key in ("mean", "uniform")}


def _explain(encoder: nn.Module, batch: Batch) -> None:
    """Raises UserError: which cloud, and which module is the first to fail."""
    for i, name in enumerate(batch.names):
        feats = None if batch.feats is None else batch.feats[i : i + 1]
        said = first_not_finite(encoder, batch.xyz[i : i + 1], feats)
        if said is not None:
            raise UserError(f"features of {name} are not finite. The first such are of {said}")
    raise UserError(f"features of {batch.names[0]} and others together are not finite")
