"""A bright square that moves over an image: which token sees it?"""

import torch
from torch import Tensor, nn

from pointssl.images.tokens import image_tokens


def cells_that_react(encoder: nn.Module, height: int, width: int, grid: tuple[int, int]) -> Tensor:
    """The token that a bright square moves most, ``(rows, columns)``, for a square in each cell."""
    rows, columns = grid
    down, across = height // rows, width // columns
    images = torch.zeros(rows * columns + 1, 3, height, width)
    for cell in range(rows * columns):
        top, left = cell // columns * down, cell % columns * across
        images[cell, :, top : top + down, left : left + across] = 1
    with torch.no_grad():
        tokens = image_tokens(encoder, images).tokens
    change = (tokens[:-1] - tokens[-1]).norm(dim=-1)
    return change.argmax(dim=1).view(grid)
