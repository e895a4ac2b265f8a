"""Rooms segmented block by block: what overlapping blocks say of a point is summed, and it counts
once.
"""

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from pointssl.engine.distributed import World
from pointssl.metrics import (
    class_accuracies,
    class_ious,
    confusion_matrix,
    mean_class_accuracy,
    mean_iou,
    overall_accuracy,
)
from pointssl.ops.collectives import sum_over_ranks
from pointssl.tasks.outputs import Batch, probabilities
from pointssl_datasets.base.source import Cloud
from pointssl_datasets.points.sampling import repeat_to
from pointssl_datasets.scenes.rooms import Scene, Scenes

Ints = NDArray[np.int64]
CHANNELS = {"xyz": 3, "xyz-rgb": 6, "xyz-rgb-place": 9}
AT_ONCE = 8  # chunks; not the batch size, so that numbers are the same on any number of processes
SHUFFLE = 42  # a stream of random numbers of its own
DRAWN = 40_000  # points of a room that is drawn


def feats_of(batch: Batch, channels: str) -> Tensor | None:
    """What a point has beside its coordinates: ``(B, N, 3 or 6)``, or None."""
    if channels == "xyz":
        return None
    if channels == "xyz-rgb":
        return batch["colour"]
    return torch.cat((batch["colour"], batch["place"]), dim=-1)


def evaluate_scenes(
    task: nn.Module,
    scenes: Scenes,
    rooms: Sequence[int],
    classes: Sequence[str],
    world: World,
    *,
    points: int,
    channels: str,
    seed: int,
    drawn: Collection[int] = (),
    progress: bool = False,
    title: str = "test",
) -> tuple[Ints, list[dict[str, Any]]]:
    """The confusion matrix over all points of ``rooms``; the same on every rank.

    A room is on exactly one rank, and in memory alone. Every point of each of its blocks is
    predicted, ``points`` at a time; a room's point takes the class with the largest sum of
    probabilities.

    Args:
        rooms: numbers of the rooms, each once.
        channels: a key of :data:`CHANNELS`.
        seed: of the order in which a block's points are taken.
        drawn: numbers of the rooms of which a picture is wanted.

    Returns:
        ``(classes, classes)`` counts; and of the rooms in ``drawn``, in their order, dicts with
        ``name``, ``xyz (M, 3)`` y-up, ``truth (M,)`` and ``predicted (M,)``, M at most
        :data:`DRAWN`.
    """
    task.eval()
    matrix = np.zeros((len(classes), len(classes)), dtype=np.int64)
    shown: list[tuple[int, dict[str, Any]]] = []
    mine = rooms[world.rank :: world.size]
    hidden = not (progress and world.is_main)
    for room in tqdm(mine, desc=title, unit="room", leave=False, disable=hidden):
        scene = scenes.read(room)
        votes = room_votes(
            task, scene, len(classes), world.device,
            points=points, channels=channels, seed=seed, room=room,
        )  # fmt: skip
        predicted = votes.argmax(dim=1).numpy()
        matrix += confusion_matrix(scene.part, predicted, len(classes))
        if room in drawn:
            shown.append((room, _some_points(scene, predicted, seed)))
    total = sum_over_ranks(torch.from_numpy(matrix).to(world.device)).cpu().numpy()
    everyone = [one for ranks in world.gather(shown) for one in ranks]
    return total, [picture for _, picture in sorted(everyone, key=lambda one: one[0])]


@torch.no_grad()
def room_votes(
    task: nn.Module,
    scene: Scene,
    classes: int,
    device: torch.device,
    *,
    points: int,
    channels: str,
    seed: int,
    room: int,
) -> Tensor:
    """``(N, classes)``: the sum of the probabilities that each point was given."""
    votes = torch.zeros(len(scene.part), classes)
    waiting: list[tuple[Ints, Batch]] = []

    def count_votes() -> None:
        batch = {name: torch.stack([one[name] for _, one in waiting]) for name in waiting[0][1]}
        feats = feats_of(batch, channels)
        if feats is not None:
            batch["feats"] = feats
        scores = probabilities(task, batch, device)
        for (rows, _), said in zip(waiting, scores, strict=True):
            votes.index_add_(0, torch.from_numpy(rows), said[: len(rows)])
        waiting.clear()

    for number, (rows, block) in enumerate(scene.blocks):
        for chosen, count in chunks(len(rows), points, seed, room, number):
            waiting.append((rows[chosen[:count]], _tensors(block, chosen)))
            if len(waiting) == AT_ONCE:
                count_votes()
    if waiting:
        count_votes()
    return votes


def chunks(
    stored: int, points: int, seed: int, room: int, block: int
) -> Iterator[tuple[Ints, int]]:
    """``(points,)`` rows of a block of ``stored`` points, and how many of them have a vote.

    Every row has one vote. The last chunk is filled up with rows of the first, or their repeats,
    which have none.
    """
    order = np.random.default_rng([SHUFFLE, seed, room, block]).permutation(stored)
    filled = repeat_to(order, -(-stored // points) * points)
    for start in range(0, stored, points):
        yield filled[start : start + points], min(points, stored - start)


def _tensors(block: Cloud, rows: Ints) -> Batch:
    found = {"xyz": torch.from_numpy(block["xyz"][rows]), "label": torch.tensor(0)}
    if "colours" in block:
        found["colour"] = torch.from_numpy(block["colours"][rows])
    if "place" in block:
        found["place"] = torch.from_numpy(block["place"][rows])
    return found


def _some_points(scene: Scene, predicted: Ints, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng([SHUFFLE, seed])
    rows = rng.permutation(len(scene.part))[:DRAWN]
    return {
        "name": scene.name,
        "xyz": scene.xyz[rows],
        "truth": scene.part[rows],
        "predicted": predicted[rows],
    }


def scene_scores(matrix: Ints, classes: Sequence[str]) -> dict[str, Any]:
    """``miou``, ``class_accuracy`` and ``accuracy`` in [0, 1], ``points``, the names of classes
    that are ``absent`` from truth and prediction, ``per_part`` rows, ``confusion``.

    Raises:
        DataError: the matrix counts nothing.
    """
    miou, absent = mean_iou(matrix, classes)
    rows = zip(classes, matrix.sum(axis=1), class_ious(matrix), class_accuracies(matrix),
               strict=True)  # fmt: skip
    return {
        "miou": miou,
        "class_accuracy": mean_class_accuracy(matrix, classes)[0],
        "accuracy": overall_accuracy(matrix),
        "points": int(matrix.sum()),
        "absent": absent,
        "per_part": [
            {
                "part": name,
                "points": int(points),
                "iou": None if np.isnan(iou) else float(iou),
                "accuracy": None if np.isnan(accuracy) else float(accuracy),
            }
            for name, points, iou, accuracy in rows
        ],
        "confusion": matrix.tolist(),
    }
