"""Probes of a user's own: one that predicts classes, and one that gives a score."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pointssl.config.options import option
from pointssl.probes.base import Classifier, Probe


@dataclass(frozen=True, kw_only=True)
class Centroids(Classifier):
    """Classify by the nearest mean feature of a class."""

    title: ClassVar[str] = "nearest centroid"

    power: float = option(2.0, "Power of the distance.", "Evaluation", low=1)

    def fit_predict(self, split, seed):
        known = np.unique(split.train_y)
        centres = [split.train_x[split.train_y == label].mean(axis=0) for label in known]
        distance = (np.abs(split.test_x[:, None] - np.array(centres)) ** self.power).sum(axis=2)
        return {"predicted": known[distance.argmin(axis=1)], "notes": []}


@dataclass(frozen=True, kw_only=True)
class Spread(Probe):
    """Measure how far classes lie apart."""

    title: ClassVar[str] = "spread"
    numbers: ClassVar[dict[str, str]] = {"between": "between"}

    def how(self, result):
        return "variance between the classes of test over all variance"

    def score(self, split, seed):
        means = np.array([split.test_x[split.test_y == y].mean(axis=0) for y in split.test_y])
        share = means.var(axis=0).sum() / split.test_x.var(axis=0).sum()
        return {"between": float(share), "notes": []}


@dataclass(frozen=True, kw_only=True)
class Clashing(Centroids):
    """Have an option that every evaluation has."""

    k: int = option(3, "Neighbours.", "Evaluation")
