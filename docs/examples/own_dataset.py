"""A dataset of your own, in one file: knotted tubes, and the question which knot it is.

    python docs/examples/own_dataset.py

or, from the folder of this file, with any command:

    pointssl data show --data own_dataset:Knots
    pointssl pretrain --data own_dataset:Knots --image-encoder none
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

from pointssl.probes.build import eval_config
from pointssl.recipes import evaluate
from pointssl_datasets import load_dataset
from pointssl_datasets.base.errors import UsageError

TURNS = {"trefoil": (2, 3), "cinquefoil": (2, 5), "eight_crossings": (3, 4)}


class Knots:
    """Points on tubes along torus knots, each of another size, thickness and pose.

    A dataset is a class with a length whose items are dicts. It is made with the folder of
    ``--data-root`` and the name of a split; this one needs no folder.
    """

    classes = tuple(TURNS)

    def __init__(self, root: Path | None, split: str) -> None:
        if split not in ("train", "test"):
            raise UsageError(f"knots have the splits train and test, not {split}")
        self.first = 0 if split == "train" else 10_000
        self.key = (
            "knots, version 1"  # change it when the data change: what was packed is then stale
        )

    def __len__(self) -> int:
        return 60

    def __getitem__(self, index: int) -> dict[str, object]:
        """``xyz (N, 3)`` and ``label``; the same for the same index every time."""
        label = index % len(self.classes)
        rng = np.random.default_rng(self.first + index)
        return {"xyz": knot(*TURNS[self.classes[label]], rng), "label": label}


def knot(p: int, q: int, rng: np.random.Generator, points: int = 512) -> np.ndarray:
    """A tube ``(points, 3)`` along the curve that winds p times around an axis while it winds q
    times around a ring."""
    t = rng.uniform(0, 2 * np.pi, points)
    radius = 1 + rng.uniform(0.3, 0.5) * np.cos(q * t)
    curve = np.stack((radius * np.cos(p * t), 0.4 * np.sin(q * t), radius * np.sin(p * t)), axis=1)
    off = rng.normal(size=(points, 3))
    off *= rng.uniform(0.05, 0.15) / np.linalg.norm(off, axis=1, keepdims=True)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    return (curve + off) @ turn


def main(out: Path) -> None:
    # Every part of pointssl takes the name `module:Class`. The first use packs the data.
    dataset = load_dataset("own_dataset:Knots", None, "train", points=128)
    print(f"{len(dataset)} clouds of {dataset.points} points: {', '.join(dataset.classes)}")
    evaluate.run(
        eval_config("svm")(
            data="own_dataset:Knots",
            backbone="dgcnn",
            k=8,
            embedding=64,
            points=128,
            threads=1,
            out=out,
        )
    )


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp()))
