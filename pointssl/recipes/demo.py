"""`pointssl demo`: the main job on generated shapes, in minutes, with its pictures."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pointssl.config.evaluate import EvalOptions
from pointssl.config.pretrain import PretrainConfig
from pointssl.config.tools import DemoConfig
from pointssl.engine.distributed import World, start_world
from pointssl.features.encoder import baseline_of, encoder_from_options
from pointssl.probes.build import eval_config
from pointssl.recipes.evaluate import evaluate
from pointssl.recipes.evaluate_outcome import confusion_path
from pointssl.recipes.features import features_of, serve_split
from pointssl.recipes.pretrain import open_dataset, pretrain
from pointssl.reports.figures.features import tsne_figure
from pointssl.reports.figures.pretraining import contact_sheet
from pointssl.runs.folder import RunFolder
from pointssl_datasets.serving.mixing import PointDataset

# Small enough for two CPU cores, hard enough that a random network is far from the ceiling: every
# shape stands turned, tilted, bent and partly missing, and the SVM has few labels of each class.
SHAPES, POINTS, VIEWS, K, EMBEDDING, EPOCHS, LABELS = 800, 256, 3, 16, 512, 8, 0.1


def run(config: DemoConfig) -> dict[str, Any]:
    """Pretrain, extract, evaluate, draw; returns the results by row."""
    everywhere: dict[str, Any] = {
        "data": "shapes",
        "size": SHAPES,
        "data_seed": config.seed,
        "points": POINTS,
        "k": K,
        "device": config.device,
        "threads": config.threads,
        "kernels": config.kernels,
        "progress": config.progress,
    }
    pretraining = PretrainConfig(
        **everywhere,
        views=VIEWS,
        image_encoder="resnet18",
        image_size=48,
        embedding=EMBEDDING,
        epochs=EPOCHS,
        batch_size=32,
        seed=config.seed,
        run_dir=config.out / "pretrain",
    )
    with start_world(config.device, config.threads, config.kernels) as world:
        checkpoint = pretrain(pretraining, world)
        evaluation = eval_config("svm")(
            **everywhere,
            weights=checkpoint,
            label_fraction=LABELS,
            init_seed=config.seed,
            out=config.out / "svm",
        )
        results = evaluate(evaluation, world)
        pictures = draw(config.out, pretraining, evaluation, world)
        folder = RunFolder(config.out, config, world)
        folder.finish(results)
        if world.is_main:
            for path in pictures:
                print(f"picture: {path}")
            trained, untrained = (
                100 * results[name]["accuracy"]["mean"] for name in ("pretrained", "random init")
            )
            print(f"svm: pretrained {trained:.1f}%, random init {untrained:.1f}%")
    return results


def draw(
    out: Path, pretraining: PretrainConfig, evaluation: EvalOptions, world: World
) -> list[Path]:
    """Shapes beside their views, losses, and both encoders' features; returns the paths.

    Every rank must call it, as data and features are opened together; rank 0 draws.
    """
    shown = open_dataset(replace(pretraining, points=1024), world)
    pretrained = encoder_from_options(evaluation)
    panels = {}
    for loaded in (pretrained, baseline_of(pretrained, evaluation)):
        test = serve_split(evaluation, loaded, "test", world, sampling="random", seed=0)
        panels[loaded.name] = features_of(evaluation, loaded, test, world)
    sheet, features = out / "shapes.png", out / "tsne.png"
    if world.is_main:
        contact_sheet(shape_rows(shown), sheet)
        tsne_figure(panels, test.labels, test.classes, features, seed=0)
    curves = pretraining.run_dir / "loss_curves.png"
    return [sheet, curves, features, *(confusion_path(evaluation, name) for name in panels)]


def shape_rows(dataset: PointDataset) -> list[tuple[str, Any, list[Any]]]:
    """The first shape of each class with its different pictures, for a contact sheet."""
    rows = []
    for label, name in enumerate(dataset.classes):
        index = int(np.flatnonzero(dataset.labels == label)[0])
        pictures: dict[bytes, Any] = {}
        for epoch in range(4 * VIEWS):  # each epoch draws one of the views
            dataset.set_epoch(epoch)
            picture = dataset[index]["image"].permute(1, 2, 0).numpy()
            pictures.setdefault(picture.tobytes(), picture)
        rows.append((name, dataset[index]["xyz"].numpy(), list(pictures.values())[:VIEWS]))
    return rows
