"""The interface of a point encoder: its output, and the attributes that other modules read."""

from typing import NamedTuple, Protocol

from torch import Tensor


class Features(NamedTuple):
    """Cloud and point features.

    Attributes:
        cloud: ``(B, D)``, one feature per cloud.
        points: ``(B, N, C)``, one feature per point.
    """

    cloud: Tensor
    points: Tensor


class Backbone(Protocol):
    """A point encoder: an ``nn.Module`` that maps clouds ``(B, N, 3)``, optionally with extra
    channels ``feats (B, N, C)``, to :class:`Features`.

    The keyword arguments of its constructor are its options. It receives ``in_channels`` (3, or 6
    with normals) and, if its signature has them, ``k`` and ``embedding``.

    Attributes:
        cloud_dim, point_dim: channels of the cloud and point features.

    These members are optional; code that reads one works without it:

    - ``layers``: names of the submodules whose outputs are point features, shallow to deep; the
      cloud feature pools the last. Such a module returns ``(B, M, C)``, or ``(places (B, M, 3),
      features (B, M, C))`` if it downsamples the cloud. ``pointssl inspect`` measures them, and
      ``--layer`` pools them.
    - ``class_token``: true if the first token of its layers is a class token.
    - ``k``: number of neighbours, reported with the results.
    - ``packed``: true if one batch may hold clouds of different sizes, in the layout of
      :mod:`pointssl.ops.packed`: ``forward(xyz (T, 3), feats, offsets)``.
    - ``no_decay``, on any of its submodules: names of parameters that are excluded from weight
      decay whenever biases and norms are.
    - ``weights(*inputs)``, on an attention module that does not call
      ``scaled_dot_product_attention``: its attention weights ``(B, H, M, M)``, whose entropy
      ``pointssl inspect`` reports.
    """

    cloud_dim: int
    point_dim: int

    def __call__(self, xyz: Tensor, feats: Tensor | None = None) -> Features: ...
