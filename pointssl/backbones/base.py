"""The interface of a point encoder: its output, and the attributes that other parts read."""

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
    """A point encoder: an ``nn.Module`` that maps clouds ``(B, N, 3)``, with further channels
    ``feats (B, N, C)`` if it was made for any, to :class:`Features`.

    Its constructor's keyword arguments are its options. It is given ``in_channels`` (3, or 6 with
    normals), and where it has them ``k`` and ``embedding``.

    Attributes:
        cloud_dim, point_dim: channels of its features.

    A backbone may also have these members; without one, what reads it does without:

    - ``layers``, names of its modules whose outputs are features of points, shallow to deep; the
      cloud feature pools the last. Such a module returns ``(B, M, C)``, or ``(places (B, M, 3),
      features (B, M, C))`` if it thins the cloud out. ``pointssl inspect`` measures them, and
      ``--layer`` pools them.
    - ``class_token``, true if the first token of its layers is a class token and not a point's.
    - ``k``, its number of neighbours, which results report.
    - ``packed``, true if it takes clouds of different sizes in one batch, as
      :mod:`pointssl.ops.packed` lays them out: ``forward(xyz (T, 3), feats, offsets)``.
    - ``no_decay`` of any of its modules: names of parameters that weight decay spares where it
      spares biases and norms.
    - ``weights(*inputs)`` of an attention module that does not call
      ``scaled_dot_product_attention``: its attention ``(B, H, M, M)``, of which ``pointssl
      inspect`` takes the entropy.
    """

    cloud_dim: int
    point_dim: int

    def __call__(self, xyz: Tensor, feats: Tensor | None = None) -> Features: ...
