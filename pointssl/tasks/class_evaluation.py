"""Classification by a fine-tuned network: predictions of a whole split, and its accuracies."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from pointssl.engine.distributed import World
from pointssl.metrics import confusion_matrix, mean_class_accuracy, overall_accuracy, per_class_rows
from pointssl.tasks.outputs import gathered, predictions
from pointssl_datasets.serving.mixing import PointDataset


def evaluate_classes(
    task: nn.Module,
    dataset: PointDataset,
    rows: NDArray[np.int64],
    world: World,
    *,
    batch_size: int,
    votes: int = 1,
    progress: bool = False,
    title: str = "test",
) -> dict[str, Any]:
    """Accuracies of ``rows``, the same on every rank, each cloud once.

    Returns:
        ``single``, and with several votes ``voted``: each with ``accuracy`` and ``class_accuracy``
        in [0, 1], ``confusion`` (row: true class), ``per_class``, ``absent``; and ``shapes``.
    """
    found: list[dict[str, Any]] = []
    for passes in predictions(
        task, dataset, rows, world, prepare=dict, batch_size=batch_size, votes=votes,
        progress=progress, title=title,
    ):  # fmt: skip
        batch = passes[0][0]
        single = passes[0][1].argmax(dim=1).tolist()
        voted = sum(scores for _, scores in passes).argmax(dim=1).tolist()  # type: ignore[union-attr]
        for place, index in enumerate(batch["index"].tolist()):
            truth = int(batch["label"][place])
            said = {"single": single[place], "voted": voted[place]}
            found.append({"index": index, "truth": truth, **said})
    everyone = gathered(found, world)
    kinds = ("single", "voted") if votes > 1 else ("single",)
    return {
        **{kind: summary(everyone, kind, dataset.classes) for kind in kinds},
        "shapes": len(everyone),
    }


def summary(rows: list[dict[str, Any]], kind: str, classes: tuple[str, ...]) -> dict[str, Any]:
    """Accuracies of the predictions called ``kind``."""
    truth, said = (np.array([row[name] for row in rows]) for name in ("truth", kind))
    matrix = confusion_matrix(truth, said, len(classes))
    class_accuracy, absent = mean_class_accuracy(matrix, classes)
    return {
        "accuracy": overall_accuracy(matrix),
        "class_accuracy": class_accuracy,
        "confusion": matrix.tolist(),
        "per_class": per_class_rows(matrix, classes),
        "absent": absent,
    }
