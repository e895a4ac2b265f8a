"""Which rooms of S3DIS a scene segmentation trains on, validates on and is tested on."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pointssl.checkpoints.zoo.family import S3DIS_UNNAMED
from pointssl.engine.distributed import World
from pointssl.features.encoder import LoadedEncoder
from pointssl.recipes.splits import list_split
from pointssl_datasets.base.axes import TO_Y_UP
from pointssl_datasets.base.errors import UsageError
from pointssl_datasets.base.source import Source
from pointssl_datasets.packing.pack import pack
from pointssl_datasets.scenes.blocks import pack_blocks
from pointssl_datasets.scenes.rooms import Scenes, holds_blocks, open_scenes, room_of
from pointssl_datasets.serving.dataset import CloudDataset
from pointssl_datasets.serving.mixing import Mixture
from pointssl_datasets.sets.packed import open_packed
from pointssl_datasets.sets.s3dis import PARTS, SPLITS, find_areas

HELD_OUT = 43  # a stream of random numbers of its own


class SceneSplits(NamedTuple):
    """Blocks to train on, and rooms to be segmented whole.

    Attributes:
        train, rows: blocks of the train areas, and which of them are used.
        val: rooms that are held out to choose the epoch; maybe none.
        test: rooms of the test area, looked at once.
        middle: ``(3,)`` place of the middle of a room, y-up.
        parts: classes of points.
        notes: lines for the user.
    """

    train: Mixture
    rows: NDArray[np.int64]
    val: Scenes
    test: Scenes
    middle: NDArray[np.float32]
    parts: tuple[str, ...]
    notes: list[str]


def open_rooms(config: Any, loaded: LoadedEncoder, world: World) -> SceneSplits:
    """All areas, cut and checked before the first step: what does not fit fails early.

    Raises:
        DataError, UsageError: an area is missing or damaged, or there is nothing to train on.
    """
    test_root = config.test_root or config.data_root
    there, notes = find_areas(config.data_root), list[str]()
    if config.test_area not in find_areas(test_root):
        raise UsageError(
            f"--test-area {config.test_area}: {test_root or 'the data folder'} has the areas "
            f"{', '.join(map(str, find_areas(test_root)))}"
        )
    areas = [area for area in there if area != config.test_area]
    if not areas:
        raise UsageError(
            f"--test-area {config.test_area}: {config.data_root or 'the data folder'} has no other "
            "area to train on"
        )
    absent = [area for area in range(1, 7) if area not in (*there, config.test_area)]
    if absent:
        notes.append(
            f"areas {', '.join(map(str, absent))} are not there: not comparable with results of "
            "training on all five"
        )
    sources = [open_area(config, config.data_root, area, world) for area in areas]
    test = open_area(config, test_root, config.test_area, world)
    train = open_blocks(config, sources, loaded.serve["points"], world)
    train.name = f"s3dis areas {''.join(map(str, areas))}"

    names = [dataset.names[row] for dataset, row in map(train.origin, range(len(train)))]
    rooms_of = np.array([room_of(name) for name in names])
    used, held = choose_rooms(
        sorted(set(rooms_of)), config.label_fraction, float(config.val_share or 0), config.seed
    )
    if config.val_share and not held:
        notes.append("too few rooms to hold any out: the last epoch is taken")
    elif held:
        notes.append(f"{len(held)} of {len(held) + len(used)} train rooms are held out to choose "
                     "the epoch")  # fmt: skip
    seen = [open_scenes(source, config.block_size, config.block_size) for source in sources]
    return SceneSplits(
        train=train,
        rows=np.flatnonzero(np.isin(rooms_of, used)),
        val=pick(seen, held),
        test=open_scenes(test, config.block_size, config.test_stride),
        middle=TO_Y_UP[test.up_axis] @ np.full(3, 0.5, dtype=np.float32),
        parts=PARTS,
        notes=[*notes, *leaks(loaded, config.test_area)],
    )


def open_area(config: Any, root: Path | None, area: int, world: World) -> Source:
    """The rooms or blocks of an area, in the files' axes, out of the cache: rank 0 packs them
    first, and so reads and checks every one."""

    def load() -> Source:
        listed = list_split(
            replace(config, data_root=root), f"area_{area}", on_unpaired=config.on_unpaired
        )
        folder = pack(
            listed, normalise="none", cache_dir=config.cache_dir,
            progress=config.progress and world.is_main,
        )  # fmt: skip
        opened = open_packed(folder, listed.split)
        return replace(opened, dataset=listed.dataset, notes=listed.notes)

    return world.main_first(load)


def open_blocks(config: Any, sources: Sequence[Source], points: int, world: World) -> Mixture:
    """The blocks of all areas, served with whatever they have beside coordinates."""

    def load() -> Mixture:
        datasets = []
        for source in sources:
            folder = source.packed
            assert folder is not None
            if not holds_blocks(source):
                folder = pack_blocks(
                    source,
                    size=config.block_size,
                    stride=config.train_stride or config.block_size,
                    cache_dir=config.cache_dir,
                    progress=config.progress and world.is_main,
                )
            dataset = CloudDataset(
                folder,
                points=points,
                sampling=config.sampling,
                colours=True,
                place=True,
                seed=config.seed,
            )
            dataset.name = source.split  # what its notes are about
            datasets.append(dataset)
        return Mixture(datasets, [1.0] * len(datasets), seed=config.seed)

    return world.main_first(load)


def choose_rooms(
    names: Sequence[str], fraction: float, share: float, seed: int
) -> tuple[list[str], list[str]]:
    """The rooms that are trained on and those held out, chosen by ``seed``.

    Args:
        fraction: of all rooms that is used at all.
        share: of those that is held out; at least one room is trained on, and one held out where
            there are two and ``share`` is not 0.
    """
    order = np.random.default_rng([HELD_OUT, seed]).permutation(len(names)).tolist()
    chosen = [names[i] for i in order[: max(1, round(fraction * len(names)))]]
    held = min(max(round(share * len(chosen)), int(share > 0)), len(chosen) - 1)
    return chosen[held:], sorted(chosen[:held])


def pick(areas: Sequence[Scenes], wanted: Collection[str]) -> Scenes:
    """The rooms of these names, of several areas."""
    places = [
        (scenes, number)
        for scenes in areas
        for number, name in enumerate(scenes.names)
        if name in wanted
    ]
    return Scenes(
        [scenes.names[number] for scenes, number in places],
        lambda index: places[index][0].read(places[index][1]),
        areas[0].counts,
    )


def leaks(loaded: LoadedEncoder, test_area: int) -> list[str]:
    """A line if the encoder was trained on the very area that it is tested on."""
    trained_on = loaded.trained_on or {}
    if trained_on.get("dataset") == S3DIS_UNNAMED:
        return [
            "the encoder was trained on areas of S3DIS that its file does not name: if area "
            f"{test_area} is one of them, this is LEAKAGE"
        ]
    if any(str(test_area) in areas_of(one) for one in (trained_on, *trained_on.get("history", []))):
        return [f"LEAKAGE: the encoder was trained on area {test_area}, which is the test area"]
    return []


def areas_of(trained_on: Mapping[str, Any]) -> str:
    """The areas of S3DIS in what an encoder was trained on, as digits."""
    name = str(trained_on.get("dataset", ""))
    if name.startswith("s3dis areas "):
        return name.removeprefix("s3dis areas ")
    if "s3dis" in [part.partition("*")[0] for part in name.split("+")]:
        return SPLITS.get(str(trained_on.get("split", "")), "")
    return ""
