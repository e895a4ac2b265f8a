"""A method of your own, in one file: pull two views of a cloud together, spread all clouds apart.

    python docs/examples/own_method.py

or, from the folder of this file, with any options of `pointssl pretrain`:

    pointssl pretrain --method own_method:AlignAndSpread --method-arg spread=2
"""

import sys
import tempfile
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pointssl.config.pretrain import PretrainConfig
from pointssl.heads import ProjectionHead
from pointssl.losses import embedding_std, gather_embeddings
from pointssl.methods.base import Batch, Method, Scalars, both_views
from pointssl.recipes import pretrain


class AlignAndSpread(Method):
    """Alignment and uniformity on the sphere (Wang and Isola 2020, arXiv 2005.10242).

    ``loss = E |z1 - z2|^2 + spread * log E exp(-2 |z_i - z_j|^2)`` over all pairs of clouds i, j.

    Args:
        encoder: a point encoder, ``(B, N, 3) -> Features``.
        image_encoder: None, as this method looks at points alone.
        spread: weight of the second term. The keyword arguments of the constructor are the options
            of a method: this one is given as ``--method-arg spread=2``.
    """

    # Scalars of forward() that each epoch prints, with their labels. All of them are logged.
    watch = {"loss": "loss", "align": "align", "spread": "spread", "embedding_std": "std"}  # noqa: RUF012

    def __init__(self, encoder: nn.Module, image_encoder: None = None, *, spread: float = 1.0):
        super().__init__()
        self.encoder = encoder
        self.head = ProjectionHead(encoder.cloud_dim, 128, 64)
        self.weight = spread

    def forward(self, batch: Batch) -> Scalars:
        """A batch holds two augmented views of each cloud, ``xyz1`` and ``xyz2 (B, N, 3)``."""
        z = F.normalize(self.head(both_views(self.encoder, batch)), dim=1)  # (2B, 64)
        z1, z2 = z.chunk(2)
        z1, z2 = gather_embeddings(z1, z2)  # of all processes, with their gradient
        align = (z1 - z2).square().sum(dim=1).mean()
        spread = (spread_of(z1) + spread_of(z2)) / 2
        return {
            "loss": align + self.weight * spread,
            "align": align,
            "spread": spread,
            "embedding_std": embedding_std(z1),
        }


def spread_of(z: Tensor) -> Tensor:
    """Log of the mean Gaussian potential of all pairs of rows ``(B, D)``; low when they are far
    apart."""
    return torch.pdist(z).square().mul(-2).exp().mean().log()


def main(run_dir: Path) -> None:
    pretrain.run(
        PretrainConfig(
            method="own_method:AlignAndSpread",
            method_arg=("spread=0.5",),
            data="shapes",
            size=200,
            points=64,
            k=8,
            embedding=64,
            epochs=4,
            batch_size=32,
            threads=1,  # so small a network gains nothing from more
            run_dir=run_dir,
        )
    )


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp()))
