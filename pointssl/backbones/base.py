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
    """A point encoder: an ``nn.Module`` with these attributes, on clouds ``(B, N, 3)``.

    Attributes:
        cloud_dim, point_dim: channels of its features.
        layers: names of its modules whose outputs are features of points, shallow to deep; the
            cloud feature pools the last. Such a module returns ``(B, M, C)``, or where it thins the
            cloud out ``(places (B, M, 3), features (B, M, C))``.
    """

    cloud_dim: int
    point_dim: int
    layers: tuple[str, ...]

    def __call__(self, xyz: Tensor, feats: Tensor | None = None) -> Features: ...
