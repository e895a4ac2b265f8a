"""Layers as public code has them, channels first, on state dicts with its key names: slow twins.

Weights are drawn at random; norms are as after some training, some scales negative.
"""

import torch
from torch import Tensor

Weights = dict[str, Tensor]


def add(weights: Weights, linear: str, norm: str | None, before: int, after: int, dims: int = 0):
    """A layer (a convolution with kernels of 1 where ``dims``) and its batch norm."""
    generator = torch.Generator().manual_seed(len(weights))

    def draw(*shape: int, scale: float = 1.0) -> Tensor:
        return scale * torch.randn(*shape, generator=generator, dtype=torch.float64)

    weights[f"{linear}.weight"] = draw(after, before, *[1] * dims, scale=before**-0.5)
    weights[f"{linear}.bias"] = draw(after, scale=0.1)
    if norm is not None:
        weights[f"{norm}.weight"] = 1 + draw(after)
        weights[f"{norm}.bias"] = draw(after, scale=0.5)
        weights[f"{norm}.running_mean"] = draw(after, scale=0.1)
        weights[f"{norm}.running_var"] = 0.5 + draw(after) ** 2
        weights[f"{norm}.num_batches_tracked"] = torch.tensor(7)


def parameters(weights: Weights) -> int:
    return sum(v.numel() for k, v in weights.items() if k.endswith(("weight", "bias")))


def linear(weights: Weights, name: str, x: Tensor) -> Tensor:
    """``(B, C, ...)`` to ``(B, O, ...)``."""
    weight = weights[f"{name}.weight"].flatten(1)
    bias = weights[f"{name}.bias"].view(-1, *[1] * (x.dim() - 2))
    return torch.einsum("oc,bc...->bo...", weight, x) + bias


def norm(weights: Weights, name: str, x: Tensor, training: bool) -> Tensor:
    dims = [dim for dim in range(x.dim()) if dim != 1]
    shape = [1, -1] + [1] * (x.dim() - 2)
    mean, var = weights[f"{name}.running_mean"], weights[f"{name}.running_var"]
    if training:
        mean = x.mean(dims)
        var = (x - mean.view(shape)).square().mean(dims)
    x = (x - mean.view(shape)) / (var.view(shape) + 1e-5).sqrt()
    return x * weights[f"{name}.weight"].view(shape) + weights[f"{name}.bias"].view(shape)
