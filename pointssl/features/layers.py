"""Features of the layers inside an encoder, and the places that they belong to."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pointssl.features.hooks import hooked
from pointssl.ops.gather import take_rows
from pointssl.ops.neighbours import knn_among
from pointssl_datasets.base.errors import UsageError
from pointssl_datasets.base.resolve import nearest


class Layer(NamedTuple):
    """Features of points or groups, and where these are.

    Attributes:
        xyz: ``(B, M, 3)``, or None if the module does not say.
        features: ``(B, M, C)``, without the class token.
        token: the class token ``(B, C)``, if there is one.
    """

    xyz: Tensor | None
    features: Tensor
    token: Tensor | None = None


def layer_names(encoder: nn.Module) -> tuple[str, ...]:
    """The encoder's attribute ``layers``, shallow to deep; empty if it has none."""
    return tuple(getattr(encoder, "layers", ()))


@torch.no_grad()
def layers_found(encoder: nn.Module, xyz: Tensor, feats: Tensor | None = None) -> tuple[str, ...]:
    """:func:`layer_names`; if there are none, the children that return features of points.

    These are the direct children, and the members of module lists, whose output in a forward pass
    is ``(B, M, C)`` or ``(places, features)``. ``(B, C, N)`` has its channels first and is left
    out.

    Args:
        xyz: ``(B, N, 3)``.
    """
    if layer_names(encoder):
        return layer_names(encoder)
    names: list[str] = []
    batch, points = xyz.shape[:2]

    children: set[str] = set()
    for name, module in encoder.named_children():
        members = range(len(module)) if isinstance(module, nn.ModuleList) else None
        children |= {name} if members is None else {f"{name}.{i}" for i in members}

    def after(name: str, module: nn.Module, inputs: Any, output: Any) -> None:
        pair = _pair(output)
        features = output if pair is None else pair[1]
        if name not in children or not isinstance(features, Tensor) or features.dim() != 3:
            return
        rows, channels = features.shape[1:]
        first = channels == points != rows  # B, C, N
        if len(features) == batch and not first and name not in names:
            names.append(name)

    with hooked(encoder, after):
        encoder(xyz, feats)
    return tuple(names)


def on_points(layer: Layer, xyz: Tensor) -> Tensor | None:
    """Features of the layer at each point of ``xyz (B, N, 3)``, taken from the nearest place.

    Returns:
        ``(B, N, C)``; None if the layer's places are not known.
    """
    if layer.xyz is None or layer.xyz is xyz:
        return None if layer.xyz is None else layer.features
    return take_rows(layer.features, knn_among(xyz, layer.xyz, 1)[..., 0])


def layer_outputs(
    encoder: nn.Module, names: Sequence[str], xyz: Tensor, feats: Tensor | None = None
) -> dict[str, Layer]:
    """Outputs of the modules called ``names`` in one forward pass.

    A module that reduces the points returns ``(places, features)``. One that does not returns
    features alone; their places are those of the last such pair with as many rows.

    Args:
        names: of modules, as in ``encoder.named_modules()``.
        xyz: ``(B, N, 3)``.

    Raises:
        UsageError: there is no module of that name, or it does not return features of points.
    """
    modules = dict(encoder.named_modules())
    for name in names:
        if not name or name not in modules:
            known = layer_names(encoder) or tuple(filter(None, modules))
            raise UsageError(
                f"--layer {name!r}: this {type(encoder).__name__} has no such layer"
                f"{nearest(name, list(known)) or '.'} It has: {', '.join(known)}"
            )
    outputs: dict[str, Layer] = {}
    places: dict[int, Tensor] = {xyz.shape[1]: xyz}
    latest = xyz.shape[1]  # number of places, without a class token
    with_token = bool(getattr(encoder, "class_token", False))

    def after(name: str, module: nn.Module, inputs: Any, output: Any) -> None:
        nonlocal latest
        pair = _pair(output)
        if pair is not None:
            latest = pair[1].shape[1]
            places[latest] = pair[0]
        if name not in names:
            return
        features = pair[1] if pair is not None else output
        if not isinstance(features, Tensor) or features.dim() != 3:
            shape = tuple(getattr(features, "shape", ())) or type(features).__name__
            raise UsageError(
                f"--layer {name!r} gives {shape}, expected features of points (B, M, C)"
            )
        token = None
        if with_token and features.shape[1] == latest + 1:
            token, features = features[:, 0], features[:, 1:]
        outputs[name] = Layer(places.get(features.shape[1]), features, token)

    with hooked(encoder, after):
        encoder(xyz, feats)
    unused = [name for name in names if name not in outputs]
    if unused:
        raise UsageError(f"--layer {unused[0]!r} is not used in the forward pass of this encoder")
    return {name: outputs[name] for name in names}


def _pair(output: Any) -> tuple[Tensor, Tensor] | None:
    """``(places, features)`` if a module returned such a pair."""
    if not isinstance(output, tuple) or len(output) != 2:
        return None
    places, features = output
    if not isinstance(places, Tensor) or not isinstance(features, Tensor):
        return None
    if places.dim() != 3 or places.shape[-1] != 3 or features.shape[:2] != places.shape[:2]:
        return None
    return places, features
