"""A whole room for a network that was trained on its blocks."""

from typing import Any

import numpy as np
import torch

from pointssl.checkpoints.task_metadata import OF_SCENES
from pointssl.inference.network import Network
from pointssl.tasks.scene_evaluation import room_votes
from pointssl_datasets.base.source import Cloud, Source
from pointssl_datasets.scenes.rooms import open_scenes


def predict_room(
    network: Network, cloud: Cloud, device: torch.device, *, up_axis: str, votes: int, seed: int
) -> dict[str, Any]:
    """The ``label (N,)`` and ``probability (N,)`` of every point of a room in metres.

    It is cut into blocks as those of training, half overlapping; each point of each block is
    predicted once per vote, and probabilities are averaged.
    """
    size = float(network.metadata["block_size"])
    room = Cloud(**{"part": np.zeros(len(cloud["xyz"]), dtype=np.int64), **cloud})
    source = Source(
        dataset="file", split="all", classes=(), up_axis=up_axis, key="", names=["room"],
        read=lambda _: room,
    )  # fmt: skip
    total = np.zeros((len(room["xyz"]), len(network.parts)))
    for vote in range(votes):
        scene = open_scenes(source, size, size / 2).read(0)
        total += room_votes(
            network.module, scene, len(network.parts), device,
            points=network.points, channels=OF_SCENES[network.channels], seed=seed + vote, room=0,
        ).numpy()  # fmt: skip
    label = total.argmax(axis=1)
    share = total.max(axis=1) / np.maximum(total.sum(axis=1), 1e-30)
    return {"label": label, "probability": share.astype(np.float32)}
