"""An image encoder of a user's own, so small that a checkpoint with it can be kept."""

from torch import Tensor, nn


class SmallImageEncoder(nn.Module):
    """``(B, 3, H, W)`` to ``(B, 4)``."""

    def __init__(self) -> None:
        super().__init__()
        self.dim = 4
        self.conv = nn.Conv2d(3, 4, 3, stride=2, bias=False)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, images: Tensor) -> Tensor:
        return self.norm(self.conv(images)).relu().mean((2, 3))
