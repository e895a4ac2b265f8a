"""``shapes``: procedural objects with the 16 categories and 50 parts of ShapeNetPart.

Nothing is downloaded and nothing is stored: a shape is a program, a seed and an index. Each
category has a handful of structural types with continuous proportions and optional parts. A shape
is then bent, turned at random about the up axis, tilted and sampled with noise; some shapes lack a
side. So a common pose cannot give a class away.

Categories and part numbers follow Yi et al., A Scalable Active Framework for Region Annotation in
3D Shape Collections, SIGGRAPH Asia 2016 (ShapeNetPart).
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pointssl_datasets.base.entry import Entry
from pointssl_datasets.base.lazy import Lazy
from pointssl_datasets.base.source import Cloud, Source
from pointssl_datasets.procedural.airplanes import airplane
from pointssl_datasets.procedural.bags import bag
from pointssl_datasets.procedural.boards import skateboard
from pointssl_datasets.procedural.caps_earphones import cap, earphone
from pointssl_datasets.procedural.cars import car
from pointssl_datasets.procedural.chairs import chair
from pointssl_datasets.procedural.lamps import lamp
from pointssl_datasets.procedural.motorbikes import motorbike
from pointssl_datasets.procedural.options import number_of_shapes
from pointssl_datasets.procedural.pistols_guitars import guitar, pistol
from pointssl_datasets.procedural.randomness import Random
from pointssl_datasets.procedural.rockets import rocket
from pointssl_datasets.procedural.sampling import (
    centre_and_scale,
    deform,
    missing_side,
    pose,
    sample_surface,
)
from pointssl_datasets.procedural.solids import Parts
from pointssl_datasets.procedural.tables import table
from pointssl_datasets.procedural.tabletop import knife, laptop, mug

VERSION = 1
POINTS = 2048
SPLITS = {"train": 1600, "test": 800}  # default sizes, 100 and 50 shapes a class


class Category(NamedTuple):
    """How to build the objects of one category, and its parts."""

    build: Callable[[Random], Parts]
    first: int  # number of the first part
    parts: tuple[str, ...]  # names, in order


CATEGORIES: dict[str, Category] = {
    "airplane": Category(airplane, 0, ("body", "wing", "tail", "engine")),
    "bag": Category(bag, 4, ("handle", "body")),
    "cap": Category(cap, 6, ("crown", "peak")),
    "car": Category(car, 8, ("roof", "hood", "wheel", "body")),
    "chair": Category(chair, 12, ("back", "seat", "leg", "arm")),
    "earphone": Category(earphone, 16, ("earphone", "headband", "wire")),
    "guitar": Category(guitar, 19, ("head", "neck", "body")),
    "knife": Category(knife, 22, ("blade", "handle")),
    "lamp": Category(lamp, 24, ("base", "shade", "canopy", "tube")),
    "laptop": Category(laptop, 28, ("keyboard", "screen")),
    "motorbike": Category(motorbike, 30, ("tank", "seat", "wheel", "handle", "light", "frame")),
    "mug": Category(mug, 36, ("handle", "cup")),
    "pistol": Category(pistol, 38, ("barrel", "handle", "trigger")),
    "rocket": Category(rocket, 41, ("body", "fin", "nose")),
    "skateboard": Category(skateboard, 44, ("wheel", "deck", "belt")),
    "table": Category(table, 47, ("top", "leg", "drawer")),
}
CLASSES = tuple(CATEGORIES)
PARTS = tuple(f"{name}/{part}" for name, c in CATEGORIES.items() for part in c.parts)

ENTRIES = {
    "shapes": Entry(
        title="Generated objects with the categories and parts of ShapeNetPart",
        layout="none: generated; --size and --data-seed choose",
        up_axis="y",
        classes=16,
        origin="generated",
        how="--data shapes generates it.",
    )
}


def make_shape(split: str, index: int, seed: int = 0, points: int = POINTS) -> Cloud:
    """Shape ``index`` of a split; it depends on these arguments alone.

    Its class is ``index % 16``. A train and a test shape never share a random stream.

    Returns:
        name, xyz ``(points, 3)`` about as large as the unit sphere, unit normals, part numbers and
        label.
    """
    label = index % len(CLASSES)
    stream = np.random.SeedSequence([VERSION, list(SPLITS).index(split), seed, index])
    generator = np.random.Generator(np.random.PCG64(stream))
    rng = Random(generator)
    solids = CATEGORIES[CLASSES[label]].build(rng)
    missing = rng.uniform(0.02, 0.25) if rng.chance(0.4) else 0.0
    xyz, normals, part = sample_surface(solids, round(points / (1 - missing)), generator)
    xyz, normals = deform(centre_and_scale(xyz), normals, rng)
    xyz, normals = pose(xyz, normals, rng)
    if len(xyz) > points:
        keep = missing_side(xyz, 1 - points / len(xyz), rng)
        xyz, normals, part = xyz[keep], normals[keep], part[keep]
    xyz = centre_and_scale(xyz) + rng.uniform(0.0, 0.012) * generator.standard_normal(xyz.shape)
    return {
        "name": _name(index),
        "xyz": xyz.astype(np.float32),
        "normals": normals.astype(np.float32),
        "part": part.astype(np.int64),
        "label": label,
    }


def _name(index: int) -> str:
    return f"{CLASSES[index % len(CLASSES)]}/{index:06d}"


def open_shapes(
    root: Path | None, split: str, *, size: int | None = None, seed: int = 0, up_axis: str = "auto"
) -> Source:
    """The procedural shapes of one split, generated as they are read.

    Args:
        root: ignored, as there are no files.
        split: ``"train"`` or ``"test"``.
        size: number of shapes; default 1600 for train and 800 for test. A smaller dataset is the
            beginning of a larger one.
        seed: another seed gives another dataset of the same kind.
        up_axis: ``"auto"`` or ``"y"``: the shapes are y-up.

    Raises:
        UsageError: unknown split, size below 1, negative seed, or an up axis other than y.
    """
    count = number_of_shapes("shapes", SPLITS, split, size, seed, up_axis)
    return Source(
        dataset="shapes",
        split=split,
        classes=CLASSES,
        parts=PARTS,
        up_axis="y",
        key=f"shapes-v{VERSION}-{split}-{count}-{seed}",
        names=Lazy(count, _name),
        read=lambda index: make_shape(split, index, seed),
    )
