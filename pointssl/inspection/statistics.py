"""Statistics of a layer's features: norms, spread, rank, outliers."""

import math
from typing import Any

import torch
from torch import Tensor

OUTLIER = 3.0  # times the median norm


def effective_rank(singular_values: Tensor) -> float:
    """Compute the effective rank: the exponential of the entropy of the normalised singular values;
    0 if all are zero.

    Roy and Vetterli 2007: the number of equally strong directions with the same entropy.
    """
    total = singular_values.sum()
    if total <= 0:
        return 0.0
    return math.exp(torch.special.entr(singular_values.double() / total).sum())


class LayerSums:
    """Accumulates a layer's statistics over batches of clouds, without keeping the features."""

    def __init__(self) -> None:
        self.norms: list[Tensor] = []
        self.means: list[Tensor] = []  # of each cloud
        self.products: Tensor | None = None  # (C, C), of the features with themselves
        self.places = 0

    def add(self, features: Tensor) -> None:
        """Add the features ``(B, M, C)`` of further clouds."""
        features = features.detach().double()
        rows = features.flatten(0, 1)
        self.places = max(self.places, features.shape[1])
        self.norms.append(rows.norm(dim=1).cpu())
        self.means.append(features.mean(1).cpu())
        products = (rows.mT @ rows).cpu()
        self.products = products if self.products is None else self.products + products

    def statistics(self) -> dict[str, Any]:
        """Compute the statistics of the layer.

        Returns:
            ``places``, ``channels``; ``norm``: mean, std, median, largest and ``largest_ratio``,
            the largest over the median; ``outliers``: count and share of norms above
            :data:`OUTLIER` times the median (Darcet et al. 2024, arXiv 2309.16588); ``spread``:
            standard deviation of the features relative to their root mean square norm, 0 if all
            features are equal; ``between``: share of that variance between clouds (None if there
            is no variance); ``rank``: :func:`effective_rank`.
        """
        assert self.products is not None
        norms, means = torch.cat(self.norms), torch.cat(self.means)
        median = float(norms.median())
        outliers = int((norms > OUTLIER * median).sum())
        # All clouds have the same number of places, so the mean of means is the overall mean.
        square = float(norms.square().mean())
        middle = means.mean(0)
        variance = max(0.0, square - float(middle.square().sum()))
        spread = math.sqrt(variance / square) if square > 0 else 0.0
        apart = float((means - middle).square().sum(1).mean())
        strengths = torch.linalg.eigvalsh(self.products).clamp(min=0)
        floor = strengths.amax() * len(strengths) * torch.finfo(strengths.dtype).eps
        singular_values = torch.where(strengths > floor, strengths, 0.0).sqrt()
        return {
            "places": self.places,
            "channels": len(self.products),
            "norm": {
                "mean": float(norms.mean()),
                "std": float(norms.std(correction=0)),
                "median": median,
                "largest": float(norms.max()),
                "largest_ratio": float(norms.max()) / median if median > 0 else None,
            },
            "outliers": {"count": outliers, "share": outliers / len(norms)},
            "spread": spread,
            "between": min(1.0, apart / variance) if spread > 1e-6 else None,
            "rank": effective_rank(singular_values),
        }
