"""A dataset, networks and options so small that a training run takes a second."""

import numpy as np
from PIL import Image
from torch import Tensor, nn

from pointssl.backbones.base import Features


def write_clouds(root, per_class=8, classes=("bed", "chair", "lamp"), points=64, pictures=True):
    """A `folder` dataset: train and test, each ``per_class`` clouds and 16x16 pictures a class."""
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        for kind, name in enumerate(classes):
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(per_class):
                stretch = np.eye(3)[kind] * 2 + 1  # so that there is something to learn
                cloud = rng.normal(size=(points, 3)) * stretch
                np.save(folder / f"m{number}.npy", cloud.astype(np.float32))
                if pictures:
                    colours = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
                    Image.fromarray(colours).save(folder / f"m{number}.png")
    return root


class PictureNet(nn.Module):
    """The smallest image encoder: ``(B, 3, 16, 16)`` to ``(B, 8)``."""

    def __init__(self) -> None:
        super().__init__()
        self.dim = 8
        self.conv = nn.Conv2d(3, 8, 3, stride=2, bias=False)
        self.norm = nn.BatchNorm2d(8)

    def forward(self, images: Tensor) -> Tensor:
        return self.norm(self.conv(images)).relu().mean((2, 3))


class PointMlp(nn.Module):
    """The smallest point encoder: one layer, and the maximum over the points."""

    def __init__(
        self, k: int = 1, embedding: int = 16, in_channels: int = 3, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.cloud_dim = self.point_dim = embedding
        self.linear = nn.Linear(in_channels, embedding)
        self.dropout = nn.Dropout(dropout)

    def forward(self, xyz: Tensor, feats: Tensor | None = None) -> Features:
        points = self.dropout(self.linear(xyz).relu())
        return Features(points.max(dim=1).values, points)


def options(root, run_dir, **changes):
    """Of a pretraining run on :func:`write_clouds`, as keyword arguments of its config."""
    return {
        "data": "folder",
        "data_root": root,
        "cache_dir": root / "cache",
        "points": 32,
        "k": 4,
        "embedding": 16,
        "backbone_arg": ("channels=[8,8]",),
        "image_encoder": "tiny:PictureNet",
        "image_size": 16,
        "projection": 8,
        "batch_size": 8,
        "epochs": 2,
        "device": "cpu",
        "threads": 1,
        "progress": False,
        "run_dir": run_dir,
        **changes,
    }


def flags(options):
    """The same on the command line."""
    words = []
    for name, value in options.items():
        flag = "--" + name.replace("_", "-")
        if isinstance(value, bool):
            words.append(flag if value else flag.replace("--", "--no-", 1))
        elif isinstance(value, tuple):
            words += [word for item in value for word in (flag, item)]
        elif value is not None:
            words += [flag, str(value)]
    return words
