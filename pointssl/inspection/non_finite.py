"""Find the first module whose output is not finite."""

from typing import Any

import torch
from torch import Tensor, nn

from pointssl.features.hooks import hooked
from pointssl.inspection.profile import tensors_of, whole_layers
from pointssl.ops.backends import using


def is_finite(value: Any) -> bool:
    """Return whether all tensors in ``value`` are finite."""
    return all(bool(tensor.isfinite().all()) for tensor in tensors_of(value))


@torch.no_grad()
def first_not_finite(encoder: nn.Module, xyz: Tensor, feats: Tensor | None = None) -> str | None:
    """Describe the module that is the first to finish with NaN or infinite values.

    Args:
        xyz, feats: ``(B, N, 3)`` and ``(B, N, C)``, both finite.

    Returns:
        e.g. ``"edge_convs.1 (EdgeConv), from input that still is; of its weights linear.weight are
        not finite"``; None if everything is finite.
    """
    descriptions: list[str] = []

    def after(name: str, module: nn.Module, inputs: Any, output: Any) -> None:
        if descriptions or is_finite(output):
            return
        state = "still is" if is_finite(inputs) else "already is not"
        broken = [key for key, value in module.state_dict().items() if not is_finite(value)]
        more = f" and {len(broken) - 1} more" if len(broken) > 1 else ""
        weights = f"; of its weights {broken[0]}{more} are not finite" if broken else ""
        title = name or "the encoder itself"
        descriptions.append(f"{title} ({type(module).__name__}), from input that {state}{weights}")

    with using("torch"), whole_layers(), hooked(encoder, after):
        encoder(xyz, feats)
    return descriptions[0] if descriptions else None
