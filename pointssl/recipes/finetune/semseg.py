"""`pointssl finetune semseg`: which class every point of a room is of."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor, nn

from pointssl.augment import drawing, rotated, scale_shift_view
from pointssl.config.arguments import parse_arguments
from pointssl.config.finetune import FinetuneSemsegConfig
from pointssl.config.options import to_dict
from pointssl.engine.distributed import World, start_world
from pointssl.features.encoder import LoadedEncoder
from pointssl.recipes.finetune import training as finetune
from pointssl.recipes.finetune.job import Filled, Job, Recipe
from pointssl.recipes.finetune.presets import SEMSEG
from pointssl.recipes.finetune.rooms import SceneSplits, open_rooms
from pointssl.reports.figures.parts import category_bars
from pointssl.reports.figures.scenes import rooms_figure
from pointssl.reports.finetune import print_semseg
from pointssl.runs.folder import RunFolder
from pointssl.tasks.scene_evaluation import CHANNELS, evaluate_scenes, feats_of, scene_scores
from pointssl_datasets.base.errors import UsageError
from pointssl_datasets.sets.s3dis import find_areas

SHOWN = 4  # test rooms in the picture
FEATS = {"xyz": [], "xyz-rgb": ["colours"], "xyz-rgb-place": ["colours", "place"]}


def run(config: FinetuneSemsegConfig) -> dict[str, Any]:
    """Fine-tune as ``config`` says; see :func:`pointssl.recipes.finetune.training.run`.

    With ``six_fold``, once for each area, into ``run_dir/area_1`` to ``area_6``.
    """
    if config.data != "s3dis":
        raise UsageError(
            f"--data {config.data}: scene segmentation takes s3dis; for the parts of objects there "
            "is `pointssl finetune partseg`"
        )
    with start_world(config.device, config.threads, config.kernels) as world:
        if config.six_fold:
            return six_fold(config, world)
        return finetune.finetune(from_scratch(config), RECIPE, world)


def from_scratch(config: FinetuneSemsegConfig) -> FinetuneSemsegConfig:
    """``config`` with the arguments of a new encoder for scenes, where none is given."""
    if config.weights is not None:
        return config
    channels = config.channels or "xyz-rgb-place"
    wanted: dict[str, Any] = {"in_channels": CHANNELS[channels]}
    if (config.backbone or "dgcnn_seg") == "dgcnn_seg":
        wanted["align"] = "false"
        if channels == "xyz-rgb-place":  # neighbours are near in the room, as DGCNN has it
            wanted["neighbour_channels"] = "[6,7,8]"
    given = parse_arguments(config.backbone_arg, "--backbone-arg")
    more = tuple(f"{name}={value}" for name, value in wanted.items() if name not in given)
    return replace(config, channels=channels, backbone_arg=(*config.backbone_arg, *more))


def six_fold(config: FinetuneSemsegConfig, world: World) -> dict[str, Any]:
    """Six runs, and the scores of their summed confusion matrices: every point of every area was
    once a test point."""
    if config.test_area != FinetuneSemsegConfig.test_area:
        raise UsageError(
            f"--test-area {config.test_area}: with --six-fold each area is for test once"
        )
    absent = sorted(set(range(1, 7)) - set(find_areas(config.data_root)))
    if absent:
        raise UsageError(f"--six-fold: areas {', '.join(map(str, absent))} are not there")
    if config.test_root is not None:
        raise UsageError("--six-fold: every area is for test once; leave --test-root out")
    folds: list[list[dict[str, Any]]] = []
    for area in range(1, 7):
        run_dir = config.run_dir / f"area_{area}"
        world.say(f"area {area} of 6 is held out")
        one = replace(config, test_area=area, six_fold=False, run_dir=run_dir)
        done = finetune.finetune(from_scratch(one), RECIPE, world)
        folds.append(done["runs"])
    runs = [summed([fold[number] for fold in folds]) for number in range(config.seeds)]
    content = {"config": to_dict(config), "runs": runs}
    if world.is_main:
        folder = RunFolder(config.run_dir, config, world)
        folder.write_json("summary.json", content)
        folder.finish({"runs": runs})
        if config.pictures:
            path = config.run_dir / "classes.png"
            draw_classes(runs[0]["test"]["merged"], "s3dis, six-fold", path)
            print(f"picture: {path}")
        world.say("six-fold: the counts of the six areas, summed")
        finetune.report(config, RECIPE, runs, world)
    world.barrier()
    return content


def summed(folds: list[dict[str, Any]]) -> dict[str, Any]:
    """The result of six runs with one seed as that of one; what differs is named for all six."""
    tests = [fold["test"] for fold in folds]
    matrix = np.sum([test["merged"]["confusion"] for test in tests], axis=0)
    classes = [row["part"] for row in tests[0]["merged"]["per_part"]]
    test = {
        "merged": scene_scores(matrix, classes),
        "points": int(matrix.sum()),
        "rooms": sum(test["rooms"] for test in tests),
        "areas": "areas 1 to 6, each held out once",
        "counts": tests[0]["counts"],
    }
    notes = list(dict.fromkeys(note for fold in folds for note in fold["notes"]))
    differing = {name: "/".join(str(fold[name]) for fold in folds) for name in ("train", "epoch")}
    places = ", ".join(fold["checkpoint"] for fold in folds)
    return {
        **folds[0],
        **differing,
        "validation": [fold["validation"] for fold in folds],
        "notes": notes,
        "checkpoint": places,
        "folds": folds,
        "test": test,
    }


def make_job(config: Filled, loaded: LoadedEncoder, world: World) -> Job:
    """Data, head, validation, test and pictures of one run."""
    channels, notes = find_channels(config, loaded)
    splits = open_rooms(config, loaded, world)
    shown: list[dict[str, Any]] = []
    evaluate = partial(
        evaluate_scenes,
        classes=splits.parts,
        world=world,
        points=loaded.serve["points"],
        channels=channels,
        seed=config.seed,
        progress=config.progress,
    )

    def validate(task: nn.Module) -> dict[str, float]:
        rooms = range(len(splits.val.names))
        matrix, _ = evaluate(task, splits.val, rooms, title="validation")
        scores = scene_scores(matrix, splits.parts)
        return {name: scores[name] for name in ("miou", "class_accuracy", "accuracy")}

    def test(task: nn.Module) -> dict[str, Any]:
        rooms = len(splits.test.names)
        drawn = {i * rooms // SHOWN for i in range(SHOWN)} if config.pictures else ()
        matrix, shown[:] = evaluate(task, splits.test, range(rooms), drawn=drawn)
        return {
            "merged": scene_scores(matrix, splits.parts),
            "points": int(matrix.sum()),
            "rooms": rooms,
            "areas": f"area {config.test_area}",
            "counts": splits.test.counts,
        }

    return Job(
        task="semseg",
        task_args={
            "parts": len(splits.parts),
            "hidden": [512, 256],
            "dropout": [0.0, config.dropout],
            "smoothing": config.smoothing,
            "freeze_backbone": config.freeze_backbone,
        },
        metadata={
            "classes": list(splits.train.classes),
            "parts": list(splits.parts),
            "feats": FEATS[channels],
            "block_size": config.block_size,
            "test_area": config.test_area,
        },
        dataset=splits.train,
        rows=splits.rows,
        prepare=partial(prepare, config=config, splits=splits, channels=channels, world=world),
        validate=validate if splits.val.names else None,
        select_by="miou",
        test=test,
        draw=partial(draw, config=config, shown=shown, parts=splits.parts),
        notes=[*notes, *splits.notes],
    )


def find_channels(config: Filled, loaded: LoadedEncoder) -> tuple[str, list[str]]:
    """What the encoder takes of a point, and notes.

    Raises:
        UsageError: it takes something else than is asked for, or than S3DIS has.
    """
    takes = loaded.arguments.get("in_channels", 3)
    by_number = {number: name for name, number in CHANNELS.items()}
    if loaded.serve["normals"] or takes not in by_number:
        wants = "normals" if loaded.serve["normals"] else f"{takes} channels a point"
        raise UsageError(
            f"the encoder takes {wants}; S3DIS has coordinates, colours and places in the room, "
            "3, 6 or 9 channels, and no normals. Choose another checkpoint, or leave --normals out"
        )
    channels = by_number[takes]
    if config.channels not in (None, channels):
        raise UsageError(
            f"--channels {config.channels}: the encoder takes {channels}; leave --channels out"
        )
    notes = []
    if channels == "xyz" and config.weights is not None:
        notes.append("the pretrained encoder takes coordinates alone: no colour, no place")
    return channels, notes


def prepare(
    batch: dict[str, Tensor],
    generator: Generator,
    *,
    config: Filled,
    splits: SceneSplits,
    channels: str,
    world: World,
) -> dict[str, Tensor]:
    """Blocks that are turned and scaled as asked, with their channels as ``feats``."""
    draw_numbers = drawing(batch, generator, world.rank, world.size)
    middle = torch.from_numpy(splits.middle).to(batch["xyz"].device)
    xyz, place = rotated(batch["xyz"], batch["place"] - middle, draw_numbers, config.rotate)
    assert place is not None
    if config.augment == "scale-shift":
        xyz, _ = scale_shift_view(xyz, None, draw_numbers)
    view = {**batch, "xyz": xyz, "place": place + middle}
    feats = feats_of(view, channels)
    return view if feats is None else {**view, "feats": feats}


def draw(
    task: nn.Module,
    results: dict[str, Any],
    *,
    config: Filled,
    shown: list[dict[str, Any]],
    parts: tuple[str, ...],
) -> list[Path]:
    """Some test rooms, and the IoU of every class."""
    rooms, classes = config.run_dir / "rooms.png", config.run_dir / "classes.png"
    found, title = results["test"]["merged"], f"s3dis, area {config.test_area}"
    rooms_figure(shown, parts, rooms, f"{title}, mIoU {100 * found['miou']:.1f}")
    draw_classes(found, title, classes)
    return [rooms, classes]


def draw_classes(scores: dict[str, Any], title: str, path: Path) -> None:
    """The IoU of every class of points as bars."""
    bars = [(row["part"], row["iou"]) for row in scores["per_part"]]
    category_bars({"": bars}, f"{title}: IoU by class, mIoU {100 * scores['miou']:.1f}", path)


RECIPE = Recipe(run=f"{__name__}:run", presets=SEMSEG, make_job=make_job, report=print_semseg)
