"""Features of all images of a dataset, so that a frozen image encoder sees each image only once.

Every rank computes an equal share. The features are kept in the feature cache, and the dataset
serves them in place of the images.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from tqdm import tqdm

from pointssl.engine.distributed import World
from pointssl.engine.loop import AMP_TYPES
from pointssl.features.cache import FeatureCache, weights_hash
from pointssl.features.extraction import gather_uneven
from pointssl_datasets.base.errors import UserError
from pointssl_datasets.packing.arrays import read_array
from pointssl_datasets.serving.dataset import CloudDataset
from pointssl_datasets.serving.mixing import PointDataset

_CHUNK = 64  # batches of a rank between two exchanges with the others, which bounds the memory


def serve_image_features(
    encoder: nn.Module,
    facts: dict[str, Any],
    dataset: PointDataset,
    world: World,
    cache: FeatureCache,
    *,
    batch_size: int,
    amp: str = "off",
    progress: bool = False,
) -> None:
    """Makes ``dataset`` serve ``image_feature (D,)`` where it served ``image``.

    Args:
        encoder: on the device of ``world``; used in evaluation mode.
        facts: what features depend on beside the weights, e.g. the name of the encoder.
        batch_size: images of one rank at a time.
        amp: precision, as in training.

    Raises:
        UserError: a feature is not finite.
    """
    encoder.eval()
    facts = {**facts, "weights": weights_hash(encoder.state_dict()), "amp": amp}
    members = [dataset] if isinstance(dataset, CloudDataset) else dataset.members
    for member in members:
        folder = member.images_folder
        assert folder is not None, "a dataset without images"
        # The folder's name depends on what the images were made of, and on their size. The words of
        # the key stay as they are: caches on disk are found by them.
        key = {"kind": "picture features", "encoder": facts, "pictures": folder.name}
        images: NDArray[np.uint8] = read_array(folder, "images")
        cached = cache.load(key)
        features = None if cached is None else cached["features"]
        # If one rank can't read them, all ranks compute them, as computing is collective.
        missed = world.largest(float(features is None or len(features) != len(images)))[0]
        if missed or features is None:
            features = image_features(
                encoder, images, world, batch_size=batch_size, amp=amp, progress=progress
            )
            bad = np.flatnonzero(~np.isfinite(features).all(axis=1))
            if len(bad):
                raise UserError(
                    f"the feature of image {bad[0]} of {member.name} is not finite: check the "
                    "weights of the image encoder, or use --amp off"
                )
            if world.is_main:
                cache.save(key, {"features": features})
        member.replace_images(features)
        world.say(
            f"features of {len(images)} images of {member.name}: "
            + ("computed" if missed else "read from the cache")
        )


@torch.no_grad()
def image_features(
    encoder: nn.Module,
    images: NDArray[np.uint8],
    world: World,
    *,
    batch_size: int,
    amp: str = "off",
    progress: bool = False,
) -> NDArray[np.float32]:
    """``(V, D)`` features of ``images (V, H, W, 3)``, in order, on every rank.

    images of a chunk      0  1  2  3  4  5  6  7
    on rank (of 2)         0  1  0  1  0  1  0  1
    """
    amp_type = AMP_TYPES.get(amp)
    chunks = []
    hidden = not (progress and world.is_main)
    step = _CHUNK * batch_size * world.size
    with tqdm(total=len(images), desc="images", unit="image", leave=False, disable=hidden) as bar:
        for first in range(0, len(images), step):
            last = min(first + step, len(images))
            mine = range(first + world.rank, last, world.size)
            rows, parts = [], []
            for start in range(0, len(mine), batch_size):
                batch = np.array(mine[start : start + batch_size])
                pixels = torch.from_numpy(images[batch]).to(world.device)
                pixels = pixels.permute(0, 3, 1, 2).contiguous().float() / 255
                with torch.autocast(world.device.type, amp_type, enabled=amp_type is not None):
                    parts.append(encoder(pixels).float())
                rows.append(torch.from_numpy(batch).to(world.device))
                bar.update(min(len(batch) * world.size, last - bar.n))
            index, features = gather_uneven(rows, parts, world)
            chunks.append(features[index.argsort()].cpu().numpy())
    return np.concatenate(chunks)
