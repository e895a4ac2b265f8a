"""The random choices of an object, in words."""

from typing import TypeVar

import numpy as np

T = TypeVar("T")


class Dice:
    """Draws from one generator. Only ``random()`` is used, the most stable of numpy's streams."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._random = rng.random

    def between(self, low: float, high: float) -> float:
        """Uniform in [low, high)."""
        return float(low + (high - low) * self._random())

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return bool(self._random() < probability)

    def pick(self, *options: T) -> T:
        """One of the options, all equally likely."""
        return options[int(self._random() * len(options))]

    def count(self, low: int, high: int) -> int:
        """An integer in [low, high]."""
        return low + int(self._random() * (high - low + 1))
