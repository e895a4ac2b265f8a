"""Predicts the up axis from the shapes of known classes.

A table is wide at the top, an airplane is flat, a chair's back rises off-centre. For each of the
six signed axes a cloud is described by features that are invariant to rotations about that axis.
The weights of the cloud's class (:mod:`.height_weights`) then predict which axis points up. The
prediction for one cloud is often wrong, the vote of the clouds of several classes hardly ever.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pointssl_datasets.checking.height_weights import WEIGHTS

AXES = ("x", "-x", "y", "-y", "z", "-z")
SLICES = 5
_SUBSET = 2048  # points of a cloud that are used

MIN_CLOUDS = 10  # of a class, for it to vote
# A class is decisive if this share of its clouds votes for the same axis,
MIN_SHARE = 0.45
MIN_LEAD = 1.5  # and this many times as many as for the next axis.
MIN_CLASSES = 2  # that agree; at most a fifth of the decisive classes may disagree
# Share of the large classes that must be decisive; of randomly rotated clouds hardly any is.
MIN_DECISIVE = 1 / 3

_SYNONYMS = {
    "aeroplane": "airplane", "aircraft": "airplane", "plane": "airplane",
    "armchair": "chair", "stool": "", "bath": "bathtub", "couch": "sofa", "display": "monitor",
    "display_device": "monitor", "screen": "monitor", "tv": "", "automobile": "car",
    "sports_car": "car", "sedan": "car", "vehicle": "car", "hat": "cap", "cup": "mug",
    "notebook": "laptop", "motorcycle": "motorbike", "motor_bike": "motorbike",
    "nightstand": "night_stand", "gun": "pistol", "handgun": "pistol", "writing_desk": "desk",
    "dining_table": "table", "coffee_table": "table",
}  # fmt: skip
_SYNSETS = {
    "02691156": "airplane", "02808440": "bathtub", "02818832": "bed", "02954340": "cap",
    "02958343": "car", "03001627": "chair", "03211117": "monitor", "03642806": "laptop",
    "03790512": "motorbike", "03797390": "mug", "03948459": "pistol", "04225987": "skateboard",
    "04256520": "sofa", "04379243": "table",
}  # fmt: skip


class UpAxis(NamedTuple):
    """The result of a vote."""

    axis: str
    agree: int  # classes that voted for it
    classes: int  # all decisive classes
    clouds: int  # of the decisive classes


class AxisVotes:
    """Counts the votes of clouds for the up axis, per known class."""

    def __init__(self) -> None:
        self._votes: dict[str, NDArray[np.int64]] = {}

    def add(self, xyz: NDArray[np.float32], class_name: str) -> None:
        """Adds the vote of a cloud ``(N, 3)``; clouds of unknown classes are ignored."""
        known = known_class(class_name)
        if known is not None and len(xyz) >= 4 * SLICES:
            votes = self._votes.setdefault(known, np.zeros(6, dtype=np.int64))
            votes[np.argmax(profiles(xyz) @ WEIGHTS[known])] += 1

    def shares(self) -> Mapping[str, NDArray[np.float64]]:
        """Class -> ``(6,)``, the shares of its clouds that vote for each of :data:`AXES`."""
        return {name: votes / votes.sum() for name, votes in self._votes.items()}

    def result(self) -> UpAxis | None:
        """The elected axis; None if the classes are too few or too small, or disagree."""
        large = [votes for votes in self._votes.values() if votes.sum() >= MIN_CLOUDS]
        ballots = [votes for votes in large if _is_decisive(votes)]
        if len(ballots) < max(MIN_CLASSES, MIN_DECISIVE * len(large)):
            return None
        elected = np.bincount([int(votes.argmax()) for votes in ballots], minlength=6)
        agree = int(elected.max())
        if agree < MIN_CLASSES or 5 * (len(ballots) - agree) > len(ballots):
            return None
        clouds = sum(int(votes.sum()) for votes in ballots)
        return UpAxis(AXES[int(elected.argmax())], agree, len(ballots), clouds)


def known_class(name: str) -> str | None:
    """The class in :mod:`.height_weights` for ``name``: ``"night_stand"`` for ``"Night Stand"``."""
    plain = re.sub(r"[\s-]+", "_", name.strip().lower())
    for candidate in (plain, plain.removesuffix("s")):
        candidate = _SYNSETS.get(candidate, _SYNONYMS.get(candidate, candidate))
        if candidate in WEIGHTS:
            return candidate
    return None


def profiles(xyz: NDArray[np.float32]) -> NDArray[np.float64]:
    """Features ``(6, 16)``: for each of :data:`AXES` as the height, in this order

    - log of the standard deviation in height over that in width,
    - square root of the share of points in each of 5 slices, from bottom to top,
    - width (root mean square about its own centre) of each slice, and
    - distance of each slice's centre from the axis; both relative to the width of the whole cloud.

    All are invariant to translation, scale and rotation about the axis.

    Args:
        xyz: ``(N, 3)``, finite.
    """
    points = xyz[:: -(-len(xyz) // _SUBSET)].astype(np.float64)
    points = points - points.mean(axis=0)
    rows = []
    for axis in range(3):
        height, flat = points[:, axis], np.delete(points, axis, axis=1)
        low, high = np.percentile(height, (1, 99))
        level = np.clip((height - low) / max(high - low, 1e-12), 0, 1 - 1e-9)
        which = (level * SLICES).astype(np.int64)
        count = np.bincount(which, minlength=SLICES)
        full = np.maximum(count, 1)
        square = (flat**2).sum(axis=1)
        whole = max(float(square.mean()), 1e-12)
        centre = [np.bincount(which, flat[:, k], minlength=SLICES) / full for k in (0, 1)]
        away = centre[0] ** 2 + centre[1] ** 2
        wide = np.bincount(which, square, minlength=SLICES) / full - away
        share = count / len(points)
        filled = share >= 0.005  # a slice of a few stray points has no shape
        slices = np.sqrt([share, filled * np.maximum(wide, 0) / whole, filled * away / whole])
        ratio = 0.5 * np.log((height.var() + 1e-12) / whole)
        rows += [np.append(ratio, slices), np.append(ratio, slices[:, ::-1])]
    return np.array(rows)


def _is_decisive(votes: NDArray[np.int64]) -> bool:
    second, first = np.sort(votes)[-2:]
    return bool(first >= MIN_SHARE * votes.sum() and first >= MIN_LEAD * second)
