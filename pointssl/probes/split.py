"""What a probe is given: features and labels of train and test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Split(NamedTuple):
    """Features and labels of both splits, for one point-sampling seed.

    Attributes:
        train_x: features ``(M, D)``.
        train_y: labels ``(M,)``, integers from 0.
        test_x: ``(K, D)``.
        test_y: ``(K,)``.
    """

    train_x: NDArray[Any]
    train_y: NDArray[np.int64]
    test_x: NDArray[Any]
    test_y: NDArray[np.int64]
