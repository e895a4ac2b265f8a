"""Pretrain a small encoder without labels, then let a linear SVM judge its features.

    python docs/examples/pretrain_and_evaluate.py

Nothing is downloaded: the shapes are generated. It takes 10 seconds on one core. The encoder, the
data and the training are far too small to be good; the point is to see every step in Python.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from torch import nn

import pointssl
from pointssl.config.pretrain import PretrainConfig
from pointssl.recipes import pretrain
from pointssl_datasets import load_dataset

SHAPES, POINTS = 400, 64
ENCODER = {"k": 8, "embedding": 64, "channels": [32, 32, 64]}  # a DGCNN of 15 thousand parameters


def main(run_dir: Path) -> None:
    # 1. Pretrain. The options are those of `pointssl pretrain`, with underscores.
    checkpoint = pretrain.run(
        PretrainConfig(
            data="shapes",
            size=SHAPES,
            points=POINTS,
            backbone="dgcnn",
            backbone_arg=tuple(f"{name}={value}" for name, value in ENCODER.items()),
            method="crosspoint",
            image_encoder="none",  # two views of each cloud are contrasted, without images
            epochs=10,
            batch_size=32,
            threads=1,  # so small a network gains nothing from more
            run_dir=run_dir,
        )
    )

    # 2. Load the encoder, and make the same one without training. Both are plain torch modules.
    pretrained = pointssl.load_encoder(checkpoint)
    untrained = pointssl.build_encoder("dgcnn", seed=0, **ENCODER).eval()

    # 3. Fit a linear SVM to the features of the train split, and look at the test split once.
    train, train_labels = load("train")
    test, test_labels = load("test")
    for name, encoder in {"untrained": untrained, "pretrained": pretrained}.items():
        svm = make_pipeline(StandardScaler(), SVC(kernel="linear", C=0.01))
        svm.fit(features(encoder, train), train_labels)
        accuracy = svm.score(features(encoder, test), test_labels)
        print(f"{name}: {100 * accuracy:.1f}% of {len(test_labels)} test shapes")


def load(split: str) -> tuple[torch.Tensor, np.ndarray]:
    """Clouds ``(M, N, 3)``, y-up and in the unit sphere, and their labels ``(M,)``."""
    dataset = load_dataset("shapes", None, split, size=SHAPES, points=POINTS)
    clouds = torch.stack([dataset[i]["xyz"] for i in range(len(dataset))])
    return clouds, dataset.labels


@torch.no_grad()
def features(encoder: nn.Module, clouds: torch.Tensor) -> np.ndarray:
    """One feature ``(M, D)`` for each cloud ``(M, N, 3)``."""
    return torch.cat([encoder(some).cloud for some in clouds.split(50)]).numpy()


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp()))
