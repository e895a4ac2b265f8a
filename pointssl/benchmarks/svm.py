"""The linear SVM on features of whole clouds, as the papers score encoders."""

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
    """The row of this section; the whole of ModelNet40's size at level ``full`` alone."""
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
    """Classes that overlap: shapes differ most in what is the same for all classes, so that some
    end up wrong."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(sizes["classes"], sizes["width"]))
    shared = rng.normal(size=(8, sizes["width"]))
    found: dict[str, Any] = {}
    for split in ("train", "test"):
        labels = np.arange(sizes[split]) % sizes["classes"]
        noise = rng.normal(scale=3.0, size=(sizes[split], sizes["width"]))
        noise += 3.0 * rng.normal(size=(sizes[split], len(shared))) @ shared
        found[split] = (0.1 * (centres[labels] + noise)).astype(np.float32)
        found[f"{split} labels"] = labels
    return found


def _make(side: str, sizes: Sizes, device: torch.device, dtype: torch.dtype) -> Run:
    """Train and predict, which gives the labels of test. Always on the CPU, in float64."""
    given = features(sizes)
    if side == "textbook":
        return partial(_textbook, given["train"], given["train labels"], given["test"])
    return partial(fit_predict, given["train"], given["train labels"], given["test"], C)


def _textbook(train: Any, labels: Any, test: Any) -> Any:
    return SVC(kernel="linear", C=C).fit(train, labels).predict(test)


def _settle(found: Any) -> list[Tensor]:
    return [torch.as_tensor(found)]


def _work(sizes: Sizes) -> Work:
    """The products of train with itself, half of which are the others, and of test with train."""
    train, test, width = sizes["train"], sizes["test"], sizes["width"]
    operations = train * train * width + 2 * test * train * width
    moved = 4 * width * (train + test) + 8 * train * (train + test)
    return Work(operations, moved, "float64")
