"""The dtype of indices among the neighbours of a point."""

import torch


def slot_type(k: int) -> torch.dtype:
    """Return the smallest dtype for indices among ``k`` neighbours."""
    return torch.uint8 if k <= 256 else torch.int16
