"""Section ``svm``: the linear SVM on cloud features, the usual score of encoders."""

from functools import partial
from typing import Any

import numpy as np
import torch
from sklearn.svm import SVC
from torch import Tensor

from pointssl.benchmarks.case import Case, Run, Sizes, Work
from pointssl.probes.gram_svm import fit_predict

C = 0.1
FULL = {"train": 9840, "test": 2468, "width": 2048, "classes": 40}
FEWER = {"train": 2000, "test": 500, "width": 2048, "classes": 40}
QUICK = {"train": 400, "test": 100, "width": 256, "classes": 10}
SMALL = {"train": 120, "test": 60, "width": 32, "classes": 5}


def cases(level: str, gpu: bool) -> list[Case]:
    """Return the case of this section; only level ``full`` has the size of ModelNet40."""
    sizes = {"quick": QUICK, "full": FULL}.get(level, FEWER)
    return [
        Case(
            section="svm",
            name="SVM, {train} x {width}, {classes} classes".format(**sizes),
            make=_make,
            sizes=sizes,
            small=SMALL,
            work=_work,
            settle=_settle,
            goals={"cpu": 7} if level == "full" else {},
        )
    ]


def features(sizes: Sizes) -> dict[str, Any]:
    """Draw features of overlapping classes: the largest variation is shared by all classes, so that
    some predictions are wrong."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(sizes["classes"], sizes["width"]))
    shared = rng.normal(size=(8, sizes["width"]))
    result: dict[str, Any] = {}
    for split in ("train", "test"):
        labels = np.arange(sizes[split]) % sizes["classes"]
        noise = rng.normal(scale=3.0, size=(sizes[split], sizes["width"]))
        noise += 3.0 * rng.normal(size=(sizes[split], len(shared))) @ shared
        result[split] = (0.1 * (centres[labels] + noise)).astype(np.float32)
        result[f"{split} labels"] = labels
    return result


def _make(side: str, sizes: Sizes, device: torch.device, dtype: torch.dtype) -> Run:
    """Prepare a call that trains and predicts the test labels; always on the CPU, in float64."""
    data = features(sizes)
    if side == "textbook":
        return partial(_textbook, data["train"], data["train labels"], data["test"])
    return partial(fit_predict, data["train"], data["train labels"], data["test"], C)


def _textbook(train: Any, labels: Any, test: Any) -> Any:
    return SVC(kernel="linear", C=C).fit(train, labels).predict(test)


def _settle(labels: Any) -> list[Tensor]:
    return [torch.as_tensor(labels)]


def _work(sizes: Sizes) -> Work:
    """Count the products of train with itself, which are symmetric, and of test with train."""
    train, test, width = sizes["train"], sizes["test"], sizes["width"]
    operations = train * train * width + 2 * test * train * width
    moved = 4 * width * (train + test) + 8 * train * (train + test)
    return Work(operations, moved, "float64")
