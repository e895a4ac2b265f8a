"""What ranks do in the tests of image features."""

import numpy as np
import torch
from tiny import PictureNet, options

from pointssl.config.pretrain import PretrainConfig
from pointssl.images.features import image_features
from pointssl.recipes.pretrain import pretrain
from pointssl.runs.trackers import read_metrics


def some_images(count):
    return np.random.default_rng(0).integers(0, 256, (count, 16, 16, 3), dtype=np.uint8)


def some_encoder():
    torch.manual_seed(0)
    return PictureNet().eval()


def features(world, count, batch_size):
    found = image_features(some_encoder(), some_images(count), world, batch_size=batch_size)
    return torch.from_numpy(found)


def both_ways(world, root, folder, changes):
    """Losses of each epoch with the encoder run every step, and with its features."""
    losses = []
    for cached in (False, True):
        run_dir = folder / f"cached-{cached}"
        pretrain(PretrainConfig(**options(root, run_dir, **changes, image_cache=cached)), world)
        world.barrier()
        losses.append([[row["loss"], row["loss_cross"]] for row in read_metrics(run_dir)])
    return torch.tensor(losses)
