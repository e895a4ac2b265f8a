"""Heads that map an encoder's feature to where a loss is taken."""

from torch import Tensor, nn


class ProjectionHead(nn.Sequential):
    """Linear, batch norm, ReLU, linear: ``(B, D)`` to ``(B, P)``.

    CrossPoint (arXiv 2203.00680); its head for points has biases, that for images has none.
    """

    def __init__(self, in_dim: int, hidden: int, out_dim: int, bias: bool = True) -> None:
        super().__init__(
            nn.Linear(in_dim, hidden, bias=bias),
            nn.BatchNorm1d(hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, out_dim, bias=bias),
        )

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)
