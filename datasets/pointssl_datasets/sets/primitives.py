"""``primitives``: random compositions of primitives, without classes, as many as you like.

Nothing is downloaded and nothing is stored: a shape is a program, a seed and an index, so that a
set of a million opens at once. What is composed, and why, is said in
:mod:`pointssl_datasets.procedural.compositions`; how its surface is sampled in
:mod:`pointssl_datasets.procedural.csg`.
"""

from pathlib import Path

import numpy as np

from pointssl_datasets.base.entry import Entry
from pointssl_datasets.base.lazy import Lazy
from pointssl_datasets.base.source import Cloud, Source
from pointssl_datasets.procedural.checks import count_of
from pointssl_datasets.procedural.compositions import compose
from pointssl_datasets.procedural.csg import sample
from pointssl_datasets.procedural.dice import Dice
from pointssl_datasets.procedural.sampling import centre_and_scale

VERSION = 1
POINTS = 2048
SPLITS = {"train": 10_000, "test": 1_000}  # default sizes

ENTRIES = {
    "primitives": Entry(
        title="Generated compositions of primitives, with pictures and without classes",
        layout="none: generated; --size and --data-seed choose",
        up_axis="y",
        origin="generated",
        how="--data primitives generates it.",
    )
}


def make_composition(split: str, index: int, seed: int = 0, points: int = POINTS) -> Cloud:
    """Composition ``index`` of a split: depends on these arguments alone.

    Returns:
        xyz ``(points, 3)`` in the unit sphere, uniform by area on the surface, and unit normals
        that point outwards.
    """
    stream = np.random.SeedSequence([VERSION, list(SPLITS).index(split), seed, index])
    rng = np.random.Generator(np.random.PCG64(stream))
    steps = compose(Dice(rng))
    sampled = sample(steps, points, rng)
    if sampled is None:  # the cuts left nothing: keep what they would have cut
        sampled = sample([step for step in steps if not step.cut], points, rng)
        assert sampled is not None  # without cuts some surface always remains
    xyz, normals = sampled
    return Cloud(xyz=centre_and_scale(xyz).astype(np.float32), normals=normals.astype(np.float32))


def open_primitives(
    root: Path | None, split: str, *, size: int | None = None, seed: int = 0, up_axis: str = "auto"
) -> Source:
    """The compositions of one split, made as they are read.

    Args:
        root: not used, there are no files; any value is accepted.
        split: ``"train"`` or ``"test"``.
        size: number of shapes; default 10,000 for train and 1,000 for test. A smaller set is the
            beginning of a larger one.
        seed: another seed is another dataset of the same kind.
        up_axis: ``"auto"`` or ``"y"``.

    Raises:
        UsageError: unknown split, size below 1, negative seed, or an up axis other than y.
    """
    count = count_of("primitives", SPLITS, split, size, seed, up_axis)
    return Source(
        dataset="primitives",
        split=split,
        classes=(),
        up_axis="y",
        key=f"primitives-v{VERSION}-{split}-{count}-{seed}",
        names=Lazy(count, "{:07d}".format),
        read=lambda index: make_composition(split, index, seed),
    )
