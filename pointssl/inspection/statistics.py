"""What the features of a layer look like in numbers: size, spread, rank, outliers."""

import math
from typing import Any

import torch
from torch import Tensor

OUTLIER = 3.0  # times the median norm


def effective_rank(singular_values: Tensor) -> float:
    """The exponential of the entropy of the singular values, scaled to the sum 1; 0 for none.

    Roy and Vetterli 2007: as many directions as would carry the features if all were equally
    strong.
    """
    total = singular_values.sum()
    if total <= 0:
        return 0.0
    return math.exp(torch.special.entr(singular_values.double() / total).sum())


class LayerSums:
    """What the statistics of a layer need, summed over batches of clouds: the features themselves
    are not kept."""

    def __init__(self) -> None:
        self.norms: list[Tensor] = []
        self.means: list[Tensor] = []  # of each cloud
        self.products: Tensor | None = None  # (C, C), of the features with themselves
        self.places = 0

    def add(self, features: Tensor) -> None:
        """Features ``(B, M, C)`` of further clouds."""
        features = features.detach().double()
        rows = features.flatten(0, 1)
        self.places = max(self.places, features.shape[1])
        self.norms.append(rows.norm(dim=1).cpu())
        self.means.append(features.mean(1).cpu())
        products = (rows.mT @ rows).cpu()
        self.products = products if self.products is None else self.products + products

    def statistics(self) -> dict[str, Any]:
        """Numbers of the layer.

        Returns:
            ``places``, ``channels``; ``norm``: mean, std, median, largest and ``largest_ratio``,
            the largest over the median; ``outliers``: how many norms are above :data:`OUTLIER`
            times the median (Darcet et al. 2024, arXiv 2309.16588), and their share; ``spread``:
            standard deviation over the places, all channels together, relative to the root mean
            square norm, 0 where all features are alike; ``between``: share of that variance which
            lies between clouds (None without any); ``rank``: :func:`effective_rank`.
        """
        assert self.products is not None
        norms, means = torch.cat(self.norms), torch.cat(self.means)
        median = float(norms.median())
        outliers = int((norms > OUTLIER * median).sum())
        # Every cloud has as many places, so the mean of means is that of all features.
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
