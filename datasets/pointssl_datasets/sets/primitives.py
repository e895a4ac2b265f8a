"""``primitives``: random compositions of primitives, without classes, in any number.

Nothing is downloaded and nothing is stored: a shape is a program, a seed and an index, so that a
dataset of a million shapes opens at once. :mod:`pointssl_datasets.procedural.compositions` composes
the shapes, :mod:`pointssl_datasets.procedural.csg` samples their surfaces.
"""

from pathlib import Path

import numpy as np

from pointssl_datasets.base.entry import Entry
from pointssl_datasets.base.lazy import Lazy
from pointssl_datasets.base.source import Cloud, Source
from pointssl_datasets.procedural.compositions import compose
from pointssl_datasets.procedural.csg import sample
from pointssl_datasets.procedural.options import number_of_shapes
from pointssl_datasets.procedural.randomness import Random
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
    """Composition ``index`` of a split; it depends on these arguments alone.

    Returns:
        xyz ``(points, 3)`` in the unit sphere, uniform by area on the surface, and unit normals
        that point outwards.
    """
    stream = np.random.SeedSequence([VERSION, list(SPLITS).index(split), seed, index])
    generator = np.random.Generator(np.random.PCG64(stream))
    steps = compose(Random(generator))
    sampled = sample(steps, points, generator)
    if sampled is None:  # the cuts left nothing, so do without them
        sampled = sample([step for step in steps if not step.cut], points, generator)
        assert sampled is not None  # without cuts some surface always remains
    xyz, normals = sampled
    return Cloud(xyz=centre_and_scale(xyz).astype(np.float32), normals=normals.astype(np.float32))


def open_primitives(
    root: Path | None, split: str, *, size: int | None = None, seed: int = 0, up_axis: str = "auto"
) -> Source:
    """The compositions of one split, generated as they are read.

    Args:
        root: ignored, as there are no files.
        split: ``"train"`` or ``"test"``.
        size: number of shapes; default 10,000 for train and 1,000 for test. A smaller dataset is
            the beginning of a larger one.
        seed: another seed gives another dataset of the same kind.
        up_axis: ``"auto"`` or ``"y"``.

    Raises:
        UsageError: unknown split, size below 1, negative seed, or an up axis other than y.
    """
    count = number_of_shapes("primitives", SPLITS, split, size, seed, up_axis)
    return Source(
        dataset="primitives",
        split=split,
        classes=(),
        up_axis="y",
        key=f"primitives-v{VERSION}-{split}-{count}-{seed}",
        names=Lazy(count, "{:07d}".format),
        read=lambda index: make_composition(split, index, seed),
    )
