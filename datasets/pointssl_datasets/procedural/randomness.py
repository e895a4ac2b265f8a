"""The random choices of which a generated object is made."""

from typing import TypeVar

import numpy as np

T = TypeVar("T")


class Random:
    """A random number generator for shapes.

    It calls nothing but ``random()`` of NumPy's generator, the most stable of its streams, so that
    a new version of NumPy does not change the shapes.
    """

    def __init__(self, generator: np.random.Generator) -> None:
        self._random = generator.random

    def uniform(self, low: float, high: float) -> float:
        """Uniform in [low, high)."""
        return float(low + (high - low) * self._random())

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return bool(self._random() < probability)

    def choice(self, *options: T) -> T:
        """One of the options, all equally likely."""
        return options[int(self._random() * len(options))]

    def integer(self, low: int, high: int) -> int:
        """An integer in [low, high], both ends included."""
        return low + int(self._random() * (high - low + 1))
