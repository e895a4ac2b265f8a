"""Fine-tuning from top to bottom, for every task: data, network, training, one look at test.

A task says what is its own in a :class:`~pointssl.recipes.finetune.job.Job`; see
:mod:`pointssl.recipes.finetune.partseg`.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from torch import nn

from pointssl.checkpoints.metadata import Metadata, new_metadata
from pointssl.config.finetune import FinetuneOptions
from pointssl.config.options import to_dict
from pointssl.engine.batch_size import with_batch_size
from pointssl.engine.distributed import World, start_world
from pointssl.engine.loading import count_steps, read_batches, train_rows
from pointssl.engine.optimizer import parameter_groups
from pointssl.engine.resume import earlier_run
from pointssl.engine.training import LAST, check_batch, train_in_run_dir
from pointssl.features.encoder import LoadedEncoder, encoder_from_checkpoint, random_encoder, where
from pointssl.ops.neighbours import require_enough
from pointssl.recipes.features import was_trained_on
from pointssl.recipes.finetune.job import Filled, Job, Recipe
from pointssl.recipes.finetune.outcome import evaluate_and_save
from pointssl.recipes.finetune.presets import Preset, deviations, filled
from pointssl.recipes.pretrain_output import draw_curves
from pointssl.runs.folder import RunFolder
from pointssl.tasks.loading import build_task
from pointssl_datasets.base.errors import UsageError, UserError
from pointssl_datasets.base.writing import read_json

Config = TypeVar("Config", bound=FinetuneOptions)


def run(config: Config, recipe: Recipe) -> dict[str, Any]:
    """Fine-tune as ``config`` says; returns what is written to ``results.json``.

    Raises:
        UserError: one line about what is wrong with data, options, checkpoint or run directory.
        Stopped: by a signal or ``--max-time``; the checkpoint is written.
    """
    with start_world(config.device, config.threads, config.kernels) as world:
        return finetune(config, recipe, world)


def finetune(config: Config, recipe: Recipe, world: World) -> dict[str, Any]:
    """:func:`run` in a process group that exists already: once per seed."""
    preset = recipe.presets[config.protocol]  # type: ignore[attr-defined]
    departed = deviations(config, preset)
    asked = config.batch_size
    ready = filled(config, preset)
    results: list[dict[str, Any]] = []
    first: Path | None = None
    for number in range(ready.seeds):
        one = ready
        if ready.seeds > 1:
            seed = ready.seed + number
            one = replace(ready, seed=seed, seeds=1, run_dir=ready.run_dir / f"seed_{seed}")
            world.say(f"seed {seed}, {number + 1} of {ready.seeds}")
        first = first or one.run_dir / LAST
        results.append(
            one_run(one, preset, recipe, world, departed, lower_batch=asked is None, first=first)
        )
    if world.is_main:
        report(ready, recipe, results, world)
    world.barrier()
    return {"config": to_dict(ready), "runs": results}


def report(
    config: FinetuneOptions, recipe: Recipe, runs: list[dict[str, Any]], world: World
) -> None:
    """Print the results of all seeds; of several, write their ``summary.json``."""
    means = recipe.report(config, runs)
    if len(runs) > 1:
        summary = {"mean": means, "runs": runs}
        folder = RunFolder(config.run_dir, config, world)
        folder.write_json("summary.json", {"config": to_dict(config), **summary})
        folder.finish(summary)


def one_run(
    config: Filled,
    preset: Preset,
    recipe: Recipe,
    world: World,
    notes: list[str],
    *,
    lower_batch: bool,
    first: Path,
) -> dict[str, Any]:
    """Train with one seed, or continue, then look at test once; a finished run is read.

    Args:
        notes: to be said of the run.
        lower_batch: the batch size was not asked for, so it may fall to the size of the set.
        first: the checkpoint of the first seed: what ``--batch-size auto`` found for it holds for
            all.
    """
    done = config.run_dir / "results.json"
    last = config.run_dir / LAST
    loaded = find_encoder(config)
    require_enough(loaded.serve["points"], loaded.arguments.get("k", 1))
    job = recipe.make_job(config, loaded, world)
    job.notes.extend(notes)
    if was_trained_on(loaded, [job.tested_on]):
        job.notes.append("LEAKAGE: the encoder was pretrained on this test split")
    if lower_batch and len(job.rows) < config.batch_size:
        size = max(2, len(job.rows) // world.size * world.size)
        job.notes.append(f"batch {size} instead of {config.batch_size}: there are no more clouds")
        config = replace(config, batch_size=size)
    config = with_batch_size(config, len(job.rows), world, last, first, run=recipe.run)
    check_batch(config, world)
    metadata = describe_network(config, loaded, job)
    earlier = earlier_run(last, config, job.task)
    if earlier:
        check_same(earlier["facts"], metadata, config)
        if done.exists() and earlier["progress"]["epoch"] == config.epochs:
            results = read_results(done)
            if results.get("votes") == config.votes:
                world.say(f"{config.run_dir} is finished: its results are read")
                return results

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        task = build_task(metadata, loaded.encoder)
    scale = 1.0 if config.head_lr is None else config.head_lr / config.lr
    steps = count_steps(len(job.rows), config.batch_size)
    kept: dict[str, Any] = {}
    trained = train_in_run_dir(
        task,
        config,
        world,
        metadata=metadata,
        earlier=earlier,
        steps=steps,
        batches=lambda epoch, start: epoch_batches(config, job, epoch, start, world),
        prepare=job.prepare,
        report=partial(after_epoch, task=task, job=job, config=config, kept=kept, world=world),
        describe=lambda: describe(config, loaded, job, task, steps, world),
        groups=parameter_groups(
            task,
            weight_decay=config.weight_decay,
            decay_all=bool(config.decay_all),
            layer_decay=config.layer_decay,
            head_scale=scale,
        ),
        kept=kept,
    )
    if trained and world.is_main and config.pictures:
        draw_curves(config.run_dir)
    return evaluate_and_save(task, config, preset, loaded, job, kept, metadata, world)


def check_same(before: Mapping[str, Any], now: Mapping[str, Any], config: Filled) -> None:
    """Raises UsageError where an earlier run had other clouds or other weights to start from."""
    what = {
        "trained_on": f"on other clouds, and --data {config.data} has changed since",
        "tested_on": f"tested on other clouds, and --data {config.data} has changed since",
        "started_from": f"from other weights than {where(config.weights)} holds now",
    }
    for name, words in what.items():
        if before.get(name) != now[name]:
            raise UsageError(
                f"{config.run_dir} holds a run {words}: give another --run-dir, or bring them back"
            )


def read_results(path: Path) -> dict[str, Any]:
    """The results of a finished run.

    Raises:
        UserError: the file is damaged.
    """
    content = read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get("results"), dict):
        raise UserError(f"{path} is not what a finished run wrote: delete it")
    return cast(dict[str, Any], content["results"])


def find_encoder(config: Filled) -> LoadedEncoder:
    """The encoder of ``--weights``, or a random one by ``--seed``."""
    if config.weights is None:
        return random_encoder(config, config.seed)
    return encoder_from_checkpoint(config, config.weights)


def describe_network(config: Filled, loaded: LoadedEncoder, job: Job) -> Metadata:
    """The metadata of the checkpoint."""
    seen = loaded.trained_on or {}
    shown = job.dataset.facts()
    # Whatever the encoder has ever seen counts when leakage is looked for.
    members = [*shown.get("members", []), seen.get("fingerprint"), *seen.get("members", [])]
    before = {"dataset": seen.get("dataset"), "split": seen.get("split")}
    shown["history"] = [*seen.get("history", []), *([before] if seen else [])]
    shown["members"] = [print_ for print_ in members if print_]
    metadata = new_metadata(
        backbone=loaded.facts["backbone"],
        backbone_args=loaded.arguments,
        **loaded.serve,
        classes=job.metadata["classes"],
        trained_on=shown,
    )
    return {
        **metadata,
        "task": job.task,
        "task_args": job.task_args,
        "feats": ["normals"] if loaded.serve["normals"] else [],
        "parts": [],
        "protocol": config.protocol,
        **job.metadata,
        "tested_on": job.tested_on,
        "started_from": loaded.facts["weights"],
    }


def epoch_batches(config: Filled, job: Job, epoch: int, start: int, world: World) -> Any:
    """This rank's batches of an epoch."""
    job.dataset.set_epoch(epoch)
    batches = train_rows(len(job.rows), config.batch_size, config.seed, epoch, world, start)
    rows = (job.rows[part].tolist() for part in batches)
    return read_batches(job.dataset, rows, world.device, config.workers)


def after_epoch(
    row: dict[str, Any],
    *,
    task: nn.Module,
    job: Job,
    config: Filled,
    kept: dict[str, Any],
    world: World,
) -> dict[str, Any]:
    """Validate, keep the weights if they are the best so far, and say how it stands."""
    due = row["epoch"] % config.val_every == 0 or row["epoch"] == config.epochs
    if job.validate is not None and due:
        world.share_buffers(task)  # those of rank 0 are the ones in the checkpoint
        scores = job.validate(task.eval())
        task.train()
        row |= {f"val_{name}": value for name, value in scores.items()}
        if not kept or scores[job.select_by] > kept["best"]["score"]:
            weights = {name: value.cpu().clone() for name, value in task.state_dict().items()}
            score = scores[job.select_by]
            kept["best"] = {"epoch": row["epoch"], "score": score, "weights": weights}
    shown = {"loss": "loss", "accuracy": "accuracy", f"val_{job.select_by}": "validation",
             "seconds_per_step": "s/step"}  # fmt: skip
    parts = [f"{label} {row[name]:.3f}" for name, label in shown.items() if name in row]
    best = f" (best so far: epoch {kept['best']['epoch']})" if kept else ""
    world.say(f"epoch {row['epoch']}: {', '.join(parts)}{best}")
    return row


def describe(
    config: Filled, loaded: LoadedEncoder, job: Job, task: nn.Module, steps: int, world: World
) -> None:
    """What is about to happen, in a few lines."""
    for note in [*loaded.notes, *job.notes, *job.dataset.notes]:
        world.say(f"note: {note}")
    trained = sum(p.numel() for p in task.parameters() if p.requires_grad) / 1e6
    start = where(config.weights) if config.weights else "from scratch"
    world.say(
        f"fine-tuning {loaded.facts['backbone']} (k {loaded.arguments.get('k')}, {start}) for "
        f"{job.task} on {config.data}: {len(job.rows)} clouds of {loaded.serve['points']} points; "
        f"{trained:.3g} M parameters are trained"
    )
    world.say(
        f"{world.size} process(es) on {world.device.type}, batch {config.batch_size} in all, lr "
        f"{config.lr:g}, {steps} steps x {config.epochs} epochs, protocol {config.protocol}"
    )
