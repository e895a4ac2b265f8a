"""Few-shot by full fine-tuning, as Point-MAE and its family do it; each fold is kept on disk."""

import copy
import hashlib
import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor
from tqdm import tqdm

from pointssl.augment import drawing, one_view, scale_shift_view
from pointssl.config.evaluate import EvalOptions
from pointssl.engine.distributed import World
from pointssl.engine.loading import count_steps, read_batches, train_rows
from pointssl.engine.loop import Plan, Progress, train
from pointssl.engine.optimizer import build_optimizer, on_devices, parameter_groups
from pointssl.engine.schedule import lr_at
from pointssl.features.encoder import LoadedEncoder
from pointssl.ops.batch_norm import sync_batch_norms
from pointssl.probes.episodes import Episode, Questions
from pointssl.probes.fewshot import class_mean
from pointssl.tasks.classification import Classification
from pointssl.tasks.outputs import gathered, predictions
from pointssl_datasets.base.errors import UsageError, UserError
from pointssl_datasets.base.writing import write_text
from pointssl_datasets.serving.mixing import PointDataset

Fold = tuple[str, int, int, int]  # hash of the encoder's facts, way, shot, number

FOLDS = Path("folds.jsonl")
BATCH, LR, FLOOR, DECAY, WARMUP, CLIP = 32, 5e-4, 1e-6, 0.05, 10, 10.0


def recipe_line(epochs: int) -> str:
    """What is done with each episode."""
    return (
        f"encoder and head (256-256, dropout 0.5) fine-tuned for {epochs} epochs on each support "
        f"(AdamW {LR:g}, weight decay {DECAY:g} but for biases and norms, {WARMUP} epochs of "
        f"warm-up, cosine to {FLOOR:g}, batch {BATCH}, scale and shift)"
    )


def finetuned_accuracies(
    config: EvalOptions,
    epochs: int,
    loaded: LoadedEncoder,
    questions: Questions,
    train_set: PointDataset,
    query_set: PointDataset,
    done: dict[Fold, float],
    world: World,
) -> list[list[float]]:
    """Accuracy on the queries of every episode of every setting, on every rank.

    Args:
        done: accuracies of the folds that need not be done again; see :func:`finished_folds`.

    Raises:
        UserError: a finished fold can't be kept, or a loss is not finite.
        Stopped: by a signal; the finished folds are kept.
    """
    encoder = hashlib.sha256(json.dumps(loaded.facts, sort_keys=True).encode()).hexdigest()
    total = sum(len(episodes) for _, _, episodes in questions)
    hidden = not (config.progress and world.is_main)
    found = []
    with tqdm(total=total, desc=loaded.name, unit="fold", leave=False, disable=hidden) as bar:
        for way, shot, episodes in questions:
            runs = []
            for number, episode in enumerate(episodes):
                fold = (encoder, way, shot, number)
                if fold not in done:
                    done[fold] = finetune_fold(
                        epochs, loaded, episode, train_set, query_set, world, seed=number
                    )
                    if world.is_main:
                        keep_fold(config.out / FOLDS, fold, done[fold])
                runs.append(done[fold])
                bar.update()
            world.say(
                f"{loaded.name}, {way}-way {shot}-shot: {100 * np.mean(runs):.1f}% over "
                f"{len(runs)} folds"
            )
            found.append(runs)
    return found


def finished_folds(
    config: EvalOptions,
    epochs: int,
    questions: Questions,
    train_set: PointDataset,
    query_set: PointDataset,
    world: World,
) -> dict[Fold, float]:
    """Accuracies of the folds that an earlier run into ``--out`` has finished, on every rank.

    Raises:
        UsageError: it holds folds of other data, episodes or options.
    """
    facts = fold_facts(epochs, questions, train_set, query_set)
    return world.gather(read_folds(config.out / FOLDS, facts) if world.is_main else {})[0]


def fold_facts(
    epochs: int,
    questions: Questions,
    train_set: PointDataset,
    query_set: PointDataset,
) -> dict[str, Any]:
    """What a finished fold depends on beside its encoder and its number."""
    digest = hashlib.sha256()
    for way, shot, episodes in questions:
        digest.update(f"{way} {shot}\n".encode())
        for episode in episodes:
            for rows in (episode.support, episode.support_y, episode.query, episode.query_y):
                digest.update(rows.astype("<i8").tobytes() + b"\n")
    return {
        "epochs": epochs,
        "episodes": digest.hexdigest(),
        "support": train_set.facts(),
        "query": query_set.facts(),
    }


def read_folds(path: Path, facts: dict[str, Any]) -> dict[Fold, float]:
    """Finished folds and their accuracies; the file is begun if there is none.

    A line cut off by a crash is dropped, and its fold done again.

    Raises:
        UsageError: the file is of other facts.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    head = json.dumps(facts, sort_keys=True)
    if lines and lines[0] != head:
        raise UsageError(
            f"{path} holds folds of other episodes, data or options: give another --out, or "
            "delete it to begin anew"
        )
    found: dict[Fold, float] = {}
    kept = [head]
    for line in lines[1:]:
        try:
            row = json.loads(line)
            fold = (row["encoder"], row["way"], row["shot"], row["fold"])
            found[fold] = float(row["accuracy"])
        except (ValueError, KeyError, TypeError):
            continue
        kept.append(line)
    write_text(path, "".join(line + "\n" for line in kept))
    return found


def keep_fold(path: Path, fold: Fold, accuracy: float) -> None:
    """A line for a finished fold."""
    row = dict(zip(("encoder", "way", "shot", "fold"), fold, strict=True))
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({**row, "accuracy": accuracy}) + "\n")
    except OSError as error:
        raise UserError(f"could not write {path}: {error.strerror}") from None


def finetune_fold(
    epochs: int,
    loaded: LoadedEncoder,
    episode: Episode,
    train_set: PointDataset,
    query_set: PointDataset,
    world: World,
    seed: int,
) -> float:
    """Train a copy of the encoder with a new head on the support; accuracy on the queries.

    The last epoch counts. A last batch that is not full is dropped, as in the public code.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        task = Classification(
            copy.deepcopy(loaded.encoder), classes=len(episode.classes),
            hidden=(256, 256), slope=0.0, dropout=0.5,
        )  # fmt: skip
    sync_batch_norms(task.to(world.device))
    torch.manual_seed(seed + world.rank)  # dropout alone draws from the global state
    items = len(episode.support)
    batch = max(min(BATCH, items) // world.size, 1) * world.size
    steps = count_steps(items, batch)
    place = episode_labels(episode, train_set, world.device)

    def batches(epoch: int, start: int) -> Any:
        train_set.set_epoch(epoch)
        parts = train_rows(items, batch, seed, epoch, world, start)
        return read_batches(
            train_set, (episode.support[part].tolist() for part in parts), world.device
        )

    def prepare(found: dict[str, Tensor], generator: Generator) -> dict[str, Tensor]:
        found = {**found, "label": place[found["label"]]}
        draw = drawing(found, generator, world.rank, world.size)
        return one_view(found, draw, scale_shift_view)

    plan = Plan(
        epochs=epochs,
        steps_per_epoch=steps,
        batches=batches,
        prepare=prepare,
        lr_at=partial(
            lr_at, steps_per_epoch=steps, epochs=epochs, peak=LR, floor=FLOOR,
            warmup_epochs=min(WARMUP, epochs // 2),
        ),
        log=lambda row: None,
        save=lambda progress: None,
        seed=seed,
        clip_grad=CLIP,
        bar=False,
    )  # fmt: skip
    groups = parameter_groups(task, weight_decay=DECAY, decay_all=False)
    optimizer = build_optimizer(groups, "adamw", LR, weight_decay=DECAY, momentum=0.9)
    scaler = torch.amp.GradScaler(world.device.type, enabled=False)
    try:
        train(on_devices(task, world), optimizer, scaler, plan, Progress(), world)
    finally:
        train_set.set_epoch(0)
    return class_mean(predict(task, episode, query_set, world), episode)


def episode_labels(episode: Episode, clouds: PointDataset, device: torch.device) -> Tensor:
    """Class number of the dataset -> label within the episode; -1 for classes outside it."""
    place = torch.full((len(clouds.classes),), -1, dtype=torch.int64)
    for label, name in enumerate(episode.classes):
        place[clouds.classes.index(name)] = label
    return place.to(device)


def predict(
    task: Classification, episode: Episode, query_set: PointDataset, world: World
) -> np.ndarray[Any, np.dtype[np.int64]]:
    """``(Q,)`` labels within the episode that the network gives its queries, on every rank."""
    mine = []
    for ((batch, probabilities),) in predictions(
        task, query_set, episode.query, world, prepare=lambda batch: batch, batch_size=BATCH
    ):
        for index, row in zip(batch["index"].tolist(), probabilities, strict=True):
            mine.append({"index": index, "label": int(row.argmax())})
    label_of = {row["index"]: row["label"] for row in gathered(mine, world)}
    return np.array([label_of[int(row)] for row in episode.query], dtype=np.int64)
