"""Means over an epoch that are right on any number of processes."""

import torch
from torch import Tensor

from pointssl.ops.collectives import sum_over_ranks


class Meters:
    """Sum and count of each scalar, in float64 on the device: no step waits for the host.

    Every rank must update the same names; :meth:`read` sums over the ranks, and every rank must
    call it.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.totals: dict[str, Tensor] = {}

    def update(self, values: dict[str, Tensor | float], count: int) -> None:
        """Add means ``values`` over ``count`` items."""
        for name, value in values.items():
            scalar = torch.as_tensor(value, device=self.device).detach().to(torch.float64)
            total = torch.stack((scalar * count, scalar.new_tensor(float(count))))
            self.totals[name] = self.totals[name] + total if name in self.totals else total

    def reduced(self) -> dict[str, tuple[float, float]]:
        """Sum and count of each name over all ranks."""
        names = sorted(self.totals)
        if not names:
            return {}
        stacked = sum_over_ranks(torch.stack([self.totals[name] for name in names]))
        return {name: (row[0], row[1]) for name, row in zip(names, stacked.tolist(), strict=True)}

    def read(self) -> dict[str, float]:
        """Mean of each name over all items of all ranks."""
        return {name: total / count for name, (total, count) in self.reduced().items()}

    def restore(self, totals: dict[str, tuple[float, float]], is_main: bool) -> None:
        """Continue from :meth:`reduced`: rank 0 takes the sums, so that they count once."""
        for name, (total, count) in totals.items():
            pair = [total, count] if is_main else [0.0, 0.0]
            self.totals[name] = torch.tensor(pair, dtype=torch.float64, device=self.device)
