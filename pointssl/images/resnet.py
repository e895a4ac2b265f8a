"""Image encoders: images (B, 3, H, W) in [0, 1] -> one embedding each, (B, D), and tokens.

ResNet-18, -34 and -50 (He et al., "Deep Residual Learning for Image Recognition", CVPR 2016) with
torchvision's state-dict keys and initialisation, so that its weights load as they are. The
classifier ``fc`` is left out. ``timm:NAME`` is one of timm's models, see
:mod:`pointssl.images.timm`. To add an encoder, write a module with an attribute ``dim`` and name it
in :data:`IMAGE_ENCODERS`, or pass ``--image-encoder my_package.module:MyEncoder``.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pointssl.images.tokens import ImageTokens, check_stage, tokens_of_map

IMAGENET_MEAN = (0.485, 0.456, 0.406)  # red, green, blue
IMAGENET_STD = (0.229, 0.224, 0.225)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions, and the input added: ResNet-18 and -34."""

    expansion = 1

    def __init__(self, channels_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = _shortcut(channels_in, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = self.bn2(self.conv2(y))
        y += x if self.downsample is None else self.downsample(x)
        return F.relu(y, inplace=True)


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions, and the input added: ResNet-50.

    The stride is on the 3x3 convolution, as in torchvision ("ResNet v1.5"); the paper has it on
    the first 1x1.
    """

    expansion = 4

    def __init__(self, channels_in: int, width: int, stride: int) -> None:
        super().__init__()
        channels_out = width * self.expansion
        self.conv1 = nn.Conv2d(channels_in, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, channels_out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels_out)
        self.downsample = _shortcut(channels_in, channels_out, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = F.relu(self.bn2(self.conv2(y)), inplace=True)
        y = self.bn3(self.conv3(y))
        y += x if self.downsample is None else self.downsample(x)
        return F.relu(y, inplace=True)


def _shortcut(channels_in: int, channels_out: int, stride: int) -> nn.Sequential | None:
    """Fits the input of a block to the shape of its output; None where it already fits."""
    if channels_in == channels_out and stride == 1:
        return None
    conv = nn.Conv2d(channels_in, channels_out, 1, stride, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(channels_out))


def _stage(
    block: type[BasicBlock] | type[Bottleneck],
    channels_in: int,
    width: int,
    depth: int,
    stride: int,
) -> nn.Sequential:
    """``depth`` blocks; the first one changes the resolution and the channels."""
    rest = [block(width * block.expansion, width, 1) for _ in range(depth - 1)]
    return nn.Sequential(block(channels_in, width, stride), *rest)


class ResNet(nn.Module):
    """A residual network up to its global average pool.

    Attributes:
        dim: D, channels of the embedding.
        token_dim: channels of the tokens of the last stage, the same D.
        token_dims: channels of the tokens of stages 1 to 4.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, block: type[BasicBlock] | type[Bottleneck], depths: tuple[int, int, int, int]
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        e = block.expansion
        self.layer1 = _stage(block, 64, 64, depths[0], stride=1)
        self.layer2 = _stage(block, 64 * e, 128, depths[1], stride=2)
        self.layer3 = _stage(block, 128 * e, 256, depths[2], stride=2)
        self.layer4 = _stage(block, 256 * e, 512, depths[3], stride=2)
        self.dim = self.token_dim = 512 * e
        self.token_dims = (64 * e, 128 * e, 256 * e, 512 * e)
        # Not persistent: the state dict has torchvision's keys and no others.
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(3, 1, 1), persistent=False)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """Embeddings (B, D) of ``images`` (B, 3, H, W), RGB in [0, 1]; H and W are free.

        ImageNet's mean and standard deviation are subtracted and divided out here, not by the
        caller.

        Raises:
            TypeError: the images are integers; divide uint8 by 255 first.
        """
        x = self.layer4(self.layer3(self.layer2(self.layer1(self._stem(images)))))
        return x.mean(dim=(2, 3))

    def tokens(self, images: Tensor, stage: int = 4) -> ImageTokens:
        """The embeddings, and the cells of the feature map of a stage as tokens.

        Args:
            images: as for :meth:`forward`.
            stage: 1 to 4. A cell covers 4, 8, 16 or 32 pixels each way, so an image of 224 x 224
                has 7 x 7 tokens at stage 4; a last row or column of cells may hang over the
                border. The mean of the tokens of stage 4 is the embedding.

        Returns:
            ``pooled`` (B, D), ``tokens`` (B, rows * columns, ``token_dims[stage - 1]``), ``grid``.

        Raises:
            TypeError: as :meth:`forward`.
            UsageError: no such stage.
        """
        check_stage(stage, 4, "a ResNet")
        x = self._stem(images)
        cells = x
        for number, layer in enumerate((self.layer1, self.layer2, self.layer3, self.layer4), 1):
            x = layer(x)
            if number == stage:
                cells = x
        return ImageTokens(x.mean(dim=(2, 3)), *tokens_of_map(cells))

    def _stem(self, images: Tensor) -> Tensor:
        """Normalised images after the first convolution and pool, (B, 64, H / 4, W / 4)."""
        if not images.is_floating_point():
            raise TypeError(f"images are {images.dtype}; expected floats in [0, 1]")
        x = (images - self.mean) / self.std
        # Channels side by side in memory, as the libraries' convolutions want them: all that
        # follows keeps it so. On a CPU a training step takes four fifths of the time.
        x = x.contiguous(memory_format=torch.channels_last)
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        return F.max_pool2d(x, 3, stride=2, padding=1)


def resnet18() -> ResNet:
    """D = 512; 11.2 M parameters."""
    return ResNet(BasicBlock, (2, 2, 2, 2))


def resnet34() -> ResNet:
    """D = 512; 21.3 M parameters."""
    return ResNet(BasicBlock, (3, 4, 6, 3))


def resnet50() -> ResNet:
    """D = 2048; 23.5 M parameters."""
    return ResNet(Bottleneck, (3, 4, 6, 3))
