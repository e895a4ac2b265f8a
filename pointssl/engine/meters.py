"""Means over an epoch that are right on any number of processes."""

from typing import Any

import torch
from torch import Tensor

from pointssl.ops.collectives import sum_over_ranks


class Meters:
    """Sum and count of each scalar, in float64: tensors on the device, so that no step waits for
    the host, and plain numbers on the host, so that none waits for a copy.

    Every rank must update the same names; :meth:`read` sums over the ranks, and every rank must
    call it.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.sums: dict[str, Tensor | float] = {}
        self.counts: dict[str, float] = {}

    def update(self, values: dict[str, Tensor | float], count: int) -> None:
        """Add means ``values`` over ``count`` items."""
        for name, value in values.items():
            mean = value.detach().to(torch.float64) if isinstance(value, Tensor) else value
            self.sums[name] = self.sums.get(name, 0.0) + mean * count
            self.counts[name] = self.counts.get(name, 0.0) + count

    def reduced(self) -> dict[str, tuple[float, float]]:
        """Sum and count of each name over all ranks."""
        names = sorted(self.sums)
        if not names:
            return {}
        wide: Any = {"dtype": torch.float64, "device": self.device}
        sums = torch.stack([torch.as_tensor(self.sums[name], **wide) for name in names])
        counts = torch.tensor([self.counts[name] for name in names], **wide)
        stacked = sum_over_ranks(torch.stack((sums, counts), dim=1))
        return {name: (row[0], row[1]) for name, row in zip(names, stacked.tolist(), strict=True)}

    def read(self) -> dict[str, float]:
        """Mean of each name over all items of all ranks."""
        return {name: total / count for name, (total, count) in self.reduced().items()}

    def restore(self, totals: dict[str, tuple[float, float]], is_main: bool) -> None:
        """Continue from :meth:`reduced`: rank 0 takes the sums, so that they count once."""
        for name, (total, count) in totals.items():
            self.sums[name], self.counts[name] = (total, count) if is_main else (0.0, 0.0)
