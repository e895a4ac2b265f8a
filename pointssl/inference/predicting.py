"""What a network says of clouds: averaged over samplings, carried to every point of the file."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from pointssl.inference.clouds import Ready, batch_of, chosen_rows
from pointssl.inference.network import Network
from pointssl_datasets.sets.shapenetpart import SYNSETS
from pointssl_datasets.sets.shapes import CLASSES

BLOCK = 1 << 18  # points whose probabilities are in memory at a time


@torch.no_grad()
def predict_batch(
    network: Network,
    clouds: list[Ready],
    category: Sequence[int | None],
    device: torch.device,
    *,
    free: bool = False,
    votes: int,
    sampling: str,
    seed: int,
) -> list[dict[str, Any]]:
    """A dict per cloud: ``embedding (D,)``, or ``probabilities (classes,)``, or the ``label (N,)``
    and ``probability (N,)`` of every point of the file.

    Args:
        category: of each cloud, or None where it is not known. A network that takes it must have
            it; where it is known, only its parts can be the answer, unless ``free``.
        votes: passes, each on other points; probabilities and embeddings are averaged.
    """
    given = [int(one or 0) for one in category] if network.takes_category else None
    rows = [[chosen_rows(one, network, sampling, seed, vote) for one in clouds]
            for vote in range(votes)]  # fmt: skip
    said = []
    for chosen in rows:
        outputs = network.outputs(**batch_of(clouds, chosen, given, device))
        values = outputs["cloud"] if "cloud" in outputs else outputs["logits"].softmax(dim=-1)
        said.append(values.float().cpu().numpy())
    if not network.labels_points:
        key = "embedding" if network.task == "encoder" else "probabilities"
        return [{key: mean} for mean in np.mean(said, axis=0)]
    found = []
    for number, (one, kind) in enumerate(zip(clouds, category, strict=True)):
        known = kind is not None and bool(network.parts_of) and not free
        allowed = network.parts_of[kind] if known and kind is not None else None
        samples = [(one.xyz[rows[vote][number]], said[vote][number]) for vote in range(votes)]
        label, probability = carry(one.xyz, samples, allowed)
        found.append({"label": label, "probability": probability})
    return found


def carry(
    xyz: NDArray[np.float32],
    samples: Sequence[tuple[NDArray[np.float32], NDArray[np.float32]]],
    allowed: Sequence[int] | None,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Labels of the points that a network saw, to all points: each takes the probabilities of the
    nearest one that was seen, averaged over the passes.

    Args:
        xyz: ``(N, 3)`` all points.
        samples: of each pass the points ``(P, 3)`` and their probabilities ``(P, parts)``.
        allowed: the parts that can be the answer; None: all.

    Returns:
        the most probable part and its probability, among the allowed ones, both ``(N,)``.
    """
    trees = [cKDTree(seen) for seen, _ in samples]
    numbers = np.arange(samples[0][1].shape[1]) if allowed is None else np.asarray(allowed)
    label = np.empty(len(xyz), dtype=np.int64)
    probability = np.empty(len(xyz), dtype=np.float32)
    for start in range(0, len(xyz), BLOCK):
        part = slice(start, start + BLOCK)
        mean = np.zeros((len(xyz[part]), len(numbers)))
        for tree, (_, values) in zip(trees, samples, strict=True):
            mean += values[tree.query(xyz[part])[1]][:, numbers]
        best, total = mean.argmax(axis=1), mean.sum(axis=1)
        label[part] = numbers[best]
        probability[part] = mean.max(axis=1) / np.maximum(total, 1e-30)
    return label, probability


def category_of(folders: Sequence[str], classes: Sequence[str], given: int | None) -> int | None:
    """``given``; else the number of the class that a folder of the file is called after, from the
    nearest on, by its name or ShapeNetPart's number for it; else None."""
    if given is not None:
        return given
    if len(classes) == 1:
        return 0
    synsets = dict(zip(CLASSES, SYNSETS, strict=True))
    numbers = {synsets[name]: k for k, name in enumerate(classes) if name in synsets}
    numbers |= {name.casefold(): k for k, name in enumerate(classes)}
    return next((numbers[f.casefold()] for f in folders if f.casefold() in numbers), None)
