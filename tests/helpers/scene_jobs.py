"""A network for scenes without training, and what ranks compute with it in the tests."""

import numpy as np
import torch
from torch import nn

from pointssl.tasks.scene_evaluation import evaluate_scenes
from pointssl_datasets.scenes.rooms import open_scenes
from pointssl_datasets.sets.s3dis import PARTS, open_s3dis


class PlaceNet(nn.Module):
    """Looks at each point alone, and at the mean of what it sees with it."""

    def __init__(self, channels):
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(channels, len(PARTS))

    def logits(self, xyz, feats=None, category=None):
        x = xyz if feats is None else torch.cat((xyz, feats), dim=-1)
        return 4 * self.linear(x - 0.5 * x.mean(dim=1, keepdim=True))


def confusion(world, root, channels, points=64, drawn=()):
    """Over the rooms of areas 1, 2 and 6."""
    scenes = open_scenes(open_s3dis(root, "train"), 1.0, 0.5)
    net = PlaceNet({"xyz": 3, "xyz-rgb": 6, "xyz-rgb-place": 9}[channels])
    matrix, shown = evaluate_scenes(
        net, scenes, range(len(scenes.names)), PARTS, world,
        points=points, channels=channels, seed=0, drawn=drawn,
    )  # fmt: skip
    for room in shown:
        room.update({k: torch.from_numpy(v) for k, v in room.items() if isinstance(v, np.ndarray)})
    return {"matrix": torch.from_numpy(matrix), "shown": shown}
