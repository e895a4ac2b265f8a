"""Datasets of a user's own, in the ways that people write them."""

import numpy as np
import torch


class Bunnies:
    """Dicts of arrays, with everything that a dataset may say about itself."""

    classes = ("bunny", "hare")
    parts = ("ear", "body")
    names = ("peter", "flopsy", "mopsy")
    up_axis = "z"
    key = "v1"

    def __init__(self, root, split):
        self.seed = {"train": 0, "test": 1}[split]

    def __len__(self):
        return 3

    def __getitem__(self, index):
        rng = np.random.default_rng([self.seed, index])
        xyz = rng.normal(size=(40, 3))
        return {"xyz": xyz, "label": index % 2, "part": (xyz[:, 2] < 0).astype(int)}


class Tensors(torch.utils.data.Dataset):
    """What people have from other projects: a torch dataset of (points, label), and no more."""

    def __init__(self, root, split, size=4):
        self.shift = 0.0 if root is None else float((root / "shift.txt").read_text())
        self.size = size

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        points = torch.randn(30, 3, generator=torch.Generator().manual_seed(index))
        return points + self.shift, torch.tensor([index])


class NotADataset:
    def __init__(self, root, split):
        pass


class Ragged(Tensors):
    def __getitem__(self, index):
        return {"points": [1, 2, 3]}


def wants_more(root, split, server):
    raise AssertionError("is never called")


class Hostile:
    """Names that would lead out of the folder, or fall together; any split."""

    names = ("../../up", "/etc/passwd", "a/b", "a_b", "x" * 500, "..")
    classes = ("../c", "d/e")

    def __init__(self, root, split):
        pass

    def __len__(self):
        return len(self.names)

    def __getitem__(self, index):
        return {"xyz": np.random.default_rng(index).normal(size=(9, 3)), "label": index % 2}


class Raises(Tensors):
    """Whose third item can't be had."""

    def __getitem__(self, index):
        if index == 2:
            raise KeyError("the server is down")
        return super().__getitem__(index)


class Unopenable:
    def __init__(self, root, split):
        raise RuntimeError("no licence")


class Empty(Tensors):
    def __init__(self, root, split):
        super().__init__(root, split, size=0)
