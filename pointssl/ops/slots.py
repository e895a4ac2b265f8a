"""How kernels number the neighbours of a point."""

import torch


def slot_type(k: int) -> torch.dtype:
    """The smallest type that can number ``k`` neighbours."""
    return torch.uint8 if k <= 256 else torch.int16
