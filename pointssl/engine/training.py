"""One training run in its folder: start or continue it, log it, save it. Every recipe uses this."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Generator, nn

from pointssl.checkpoints.file import load_weights, save_network
from pointssl.checkpoints.metadata import Metadata
from pointssl.config.groups import AUTO, TrainingOptions
from pointssl.config.options import to_dict
from pointssl.engine.activations import checkpoint_blocks
from pointssl.engine.distributed import World, local_batch
from pointssl.engine.loop import Batch, Plan, Progress, train
from pointssl.engine.optimizer import Group, build_optimizer, on_devices, trained_parameters
from pointssl.engine.rng import random_states, restore_random_state
from pointssl.engine.schedule import lr_at, scaled_lr
from pointssl.ops.batch_norm import sync_batch_norms
from pointssl.runs.folder import RunFolder
from pointssl.runs.trackers import Trackers
from pointssl_datasets.base.errors import UsageError, UserError

LAST = Path("checkpoints") / "last.pt"


def check_batch(config: TrainingOptions, world: World) -> None:
    """Raise UsageError if the batch does not divide by the processes and parts, or leaves a process
    a single cloud. The batch that ``--batch-size auto`` chooses always fits.
    """
    if config.batch_size == AUTO:
        return
    share = local_batch(config.batch_size, world)
    if share % config.accumulate:
        raise UsageError(
            f"--accumulate {config.accumulate}: the {share} clouds that --batch-size "
            f"{config.batch_size} gives a process do not divide into so many parts"
        )
    if share == config.accumulate > 1:
        raise UsageError(
            f"--accumulate {config.accumulate} leaves parts of a single cloud: lower it, or "
            "double --batch-size"
        )
    if share == 1 and not config.sync_bn:
        raise UsageError(
            f"--batch-size {config.batch_size} leaves each of {world.size} processes a single "
            "cloud, of which batch norm has no statistics: double it, or use --sync-bn"
        )


def train_in_run_dir(
    module: nn.Module,
    config: TrainingOptions,
    world: World,
    *,
    metadata: Metadata,
    earlier: dict[str, Any] | None,
    steps: int,
    batches: Callable[[int, int], Iterator[Batch]],
    prepare: Callable[[Batch, Generator], Batch],
    report: Callable[[dict[str, Any]], dict[str, Any]],
    describe: Callable[[], dict[str, Any] | None],
    groups: list[Group] | None = None,
    after_step: Callable[[float], None] = lambda progress: None,
    kept: dict[str, Any] | None = None,
) -> bool:
    """Train ``module`` to the last epoch and keep ``last.pt`` in ``config.run_dir`` up to date.

    Args:
        module: a method or task, with an ``encoder``.
        metadata: of the checkpoint.
        earlier: the checkpoint to continue from, see :func:`pointssl.engine.resume.earlier_run`.
        steps: of an epoch.
        batches, prepare: see :class:`~pointssl.engine.loop.Plan`.
        report: takes the meters of an epoch, prints the ones to watch and returns the row to log;
            every rank calls it.
        describe: prints what is about to be trained; may return a first row to log.
        groups: of parameters, see :func:`~pointssl.engine.optimizer.parameter_groups`.
        after_step: see :class:`~pointssl.engine.loop.Plan`.
        kept: plain values and tensors that belong to the run, such as its best epoch. They are
            filled from the checkpoint and saved with it.

    Returns:
        whether there was anything left to train.

    Raises:
        UserError: the run is one on other clouds; the weights or a loss are not finite.
        Stopped: by a signal or ``--max-time``; the checkpoint is written.
    """
    path = config.run_dir / LAST
    kept = {} if kept is None else kept
    module.to(world.device)
    if config.sync_bn:
        sync_batch_norms(module)
    if config.checkpoint_activations and not checkpoint_blocks(module):
        raise UsageError("--checkpoint-activations: this network has no list of blocks to apply to")
    peak = scaled_lr(config.lr, config.batch_size, config.lr_scale_base)
    optimizer = build_optimizer(
        groups or trained_parameters(module),
        config.optimizer,
        peak,
        weight_decay=config.weight_decay,
        momentum=config.momentum,
    )
    scaler = torch.amp.GradScaler(world.device.type, enabled=config.amp == "fp16")
    progress = Progress()
    torch.manual_seed(config.seed + world.rank)  # dropout alone draws from the global state
    if earlier:
        if earlier["facts"]["trained_on"] != metadata["trained_on"]:
            raise UsageError(
                f"{config.run_dir} holds a run on other clouds, and --data {config.data} has "  # type: ignore[attr-defined]
                "changed since: give another --run-dir, or bring the data back"
            )
        load_weights(module, earlier["method"], path)
        optimizer.load_state_dict(earlier["optimizer"])
        scaler.load_state_dict(earlier["scaler"])
        progress = Progress(**earlier["progress"])
        restore_random_state(earlier["random"], world)
        kept.update(earlier.get("kept", {}))
        if progress.epoch < config.epochs:
            world.say(
                f"continuing {config.run_dir} after epoch {progress.epoch}, step {progress.step}"
            )
    if progress.epoch == config.epochs:
        return False

    def save(progress: Progress) -> None:
        random = random_states(world)  # of all ranks, so every rank comes here
        if not all(bool(torch.isfinite(p).all()) for p in module.parameters()):
            raise UserError(
                f"the weights are not finite after {progress.epoch} epochs and {progress.step} "
                "steps. Lower --lr or use --clip-grad 1; the last checkpoint is as it was."
            )
        if world.is_main:
            state = {
                "optimizer": optimizer.state_dict(),
                "scaler": scaler.state_dict(),
                "progress": vars(progress),
                "random": random,
                "config": to_dict(config),
                "kept": kept,
            }
            save_network(path, module, metadata, **state)
        world.barrier()  # no rank leaves, and so has torchrun stop the others, while rank 0 writes

    plan = Plan(
        epochs=config.epochs,
        steps_per_epoch=steps,
        batches=batches,
        prepare=prepare,
        lr_at=partial(
            lr_at, steps_per_epoch=steps, epochs=config.epochs, peak=peak, floor=config.min_lr,
            warmup_epochs=config.warmup_epochs, schedule=config.schedule, by=config.schedule_by,
        ),
        log=lambda row: trackers.log(report(row)),
        save=save,
        after_step=after_step,
        seed=config.seed,
        clip_grad=config.clip_grad,
        amp=config.amp,
        accumulate=config.accumulate,
        save_every=config.save_every,
        max_minutes=config.max_time,
        bar=config.progress,
    )  # fmt: skip
    folder = RunFolder(config.run_dir, config, world, flag="--run-dir")
    with folder.claimed():
        folder.start()
        first = describe()
        completed = progress.epoch if earlier else -1
        with Trackers(config.run_dir, completed, is_main=world.is_main) as trackers:
            if first is not None:
                trackers.log(first)
            model = on_devices(module, world, compiled=config.compile)
            train(model, optimizer, scaler, plan, progress, world)
    return True
