"""What every point encoder returns."""

from typing import NamedTuple, Protocol

from torch import Tensor


class Features(NamedTuple):
    """Features of clouds and of their points.

    Attributes:
        cloud: ``(B, D)``.
        points: ``(B, N, C)``.
    """

    cloud: Tensor
    points: Tensor


class Backbone(Protocol):
    """A point encoder: an ``nn.Module`` with these attributes, on clouds ``(B, N, 3)``."""

    cloud_dim: int
    point_dim: int

    def __call__(self, xyz: Tensor, feats: Tensor | None = None) -> Features: ...
