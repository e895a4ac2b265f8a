"""The training loop, for every method and task."""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Generator, Tensor, nn
from tqdm import tqdm

from pointssl.engine.checks import Checks
from pointssl.engine.distributed import World
from pointssl.engine.loading import seeded
from pointssl.engine.meters import Meters
from pointssl.engine.stopping import Stopped, StopRequest, agree_to_stop

Batch = dict[str, Tensor]
AMP_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass
class Progress:
    """How far a run has come. With the weights and the optimiser it is all that a checkpoint needs.

    Attributes:
        epoch: epochs completed.
        step: steps completed of the next one.
        totals: sum and count of each meter over those steps, of all ranks.
    """

    epoch: int = 0
    step: int = 0
    totals: dict[str, tuple[float, float]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How a model is trained, whatever the model.

    Attributes:
        batches: ``(epoch, first step)`` to the batches of this rank.
        prepare: augments a batch with a generator that depends on seed and step alone.
        lr_at: learning rate of a step, counted over the whole run.
        log: takes a row of meters at the end of each epoch.
        save: writes a checkpoint; every rank calls it.
        after_step: called when the weights have moved, with the share of the run that is done.
        accumulate: how many parts of a batch go through the network one after the other.
    """

    epochs: int
    steps_per_epoch: int
    batches: Callable[[int, int], Iterator[Batch]]
    prepare: Callable[[Batch, Generator], Batch]
    lr_at: Callable[[int], float]
    log: Callable[[dict[str, Any]], None]
    save: Callable[[Progress], None]
    after_step: Callable[[float], None] = lambda progress: None
    seed: int = 0
    clip_grad: float | None = None
    amp: str = "off"
    accumulate: int = 1
    save_every: int = 0
    max_minutes: float | None = None
    bar: bool = True


def train(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    plan: Plan,
    progress: Progress,
    world: World,
) -> None:
    """Train ``model`` from ``progress`` to the last epoch.

    Args:
        model: ``forward(batch)`` returns a dict of scalars, among them ``"loss"``.

    Raises:
        Stopped: by a signal or the clock, after a checkpoint.
        UserError: a loss is not finite; the last checkpoint stays as it is.
    """
    model.train()
    with StopRequest(plan.max_minutes, world.started) as request:
        checks = Checks(request, optimizer, world)
        while progress.epoch < plan.epochs:
            meters = Meters(world.device)
            meters.restore(progress.totals, world.is_main)
            stop = train_epoch(model, optimizer, scaler, plan, progress, meters, checks, world)
            progress.epoch, progress.step, progress.totals = progress.epoch + 1, 0, {}
            plan.log({"epoch": progress.epoch, **meters.read()})
            plan.save(progress)
            if stop and progress.epoch < plan.epochs:
                raise Stopped(stop, f"after epoch {progress.epoch}")
        stop, _ = agree_to_stop(request, True, world)
        if stop > 1:  # a signal while the last epoch was validated or saved
            raise Stopped(stop, "after the last epoch")


def train_epoch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    plan: Plan,
    progress: Progress,
    meters: Meters,
    checks: Checks,
    world: World,
) -> int:
    """Do the remaining steps of an epoch. On a GPU the host runs ahead of the device.

    Returns:
        the reason to stop that arrived with the checks of the last step, or 0.
    """
    batches = plan.batches(progress.epoch, progress.step)
    bar = tqdm(
        total=plan.steps_per_epoch, initial=progress.step, unit="step", leave=False,
        desc=f"epoch {progress.epoch + 1}/{plan.epochs}", disable=not (plan.bar and world.is_main),
    )  # fmt: skip
    with bar, contextlib.closing(batches):  # type: ignore[type-var]
        while progress.step < plan.steps_per_epoch:
            began = time.perf_counter()
            batch = next(batches)
            waited = time.perf_counter() - began

            step = progress.epoch * plan.steps_per_epoch + progress.step
            batch = plan.prepare(batch, seeded(world.device, plan.seed, step))
            lr = plan.lr_at(step)
            for group in optimizer.param_groups:
                group["lr"] = lr * group.get("lr_scale", 1.0)
            optimizer.zero_grad(set_to_none=True)
            scalars = backward(model, batch, scaler, plan, world)
            place = f"epoch {progress.epoch + 1}, step {progress.step + 1}"
            stop = checks.submit(scalars, batch["index"], place)
            if plan.clip_grad is not None:
                scaler.unscale_(optimizer)
                norm = nn.utils.clip_grad_norm_(model.parameters(), plan.clip_grad)
                scalars = {**scalars, "grad_norm": norm}
            scaler.step(optimizer)
            scaler.update()
            plan.after_step((step + 1) / (plan.epochs * plan.steps_per_epoch))

            seconds = time.perf_counter() - began
            speed = {"lr": lr, "seconds_per_step": seconds, "data_wait": waited / seconds}
            meters.update({**scalars, **speed}, count=len(batch["index"]))
            progress.step += 1
            if bar.update():  # it was drawn: the next time with this loss, which waits for it
                bar.set_postfix(loss=f"{scalars['loss'].item():.3f}", refresh=False)
            if stop or (plan.save_every and progress.step % plan.save_every == 0):
                stop = max(stop, checks.flush())
                progress.totals = meters.reduced()
                plan.save(progress)
            if stop:
                raise Stopped(stop, f"in epoch {progress.epoch + 1}, after step {progress.step}")
        return checks.flush()


def backward(
    model: nn.Module, batch: Batch, scaler: torch.amp.GradScaler, plan: Plan, world: World
) -> dict[str, Any]:
    """Compute the gradient of a batch, part by part; returns its scalars, means over the parts."""
    amp_type = AMP_TYPES.get(plan.amp)
    of_parts: list[dict[str, Any]] = []
    for part in parts_of(batch, plan.accumulate):
        more = len(of_parts) + 1 < plan.accumulate
        # Gradients of many processes are summed once, with the last part.
        alone = more and isinstance(model, nn.parallel.DistributedDataParallel)
        with model.no_sync() if alone else contextlib.nullcontext():  # type: ignore[operator]
            with torch.autocast(world.device.type, amp_type, enabled=amp_type is not None):
                scalars = model(part)
            scaler.scale(scalars["loss"] / plan.accumulate).backward()
        of_parts.append({k: v.detach() if isinstance(v, Tensor) else v for k, v in scalars.items()})
    if plan.accumulate == 1:
        return of_parts[0]
    return {name: sum(part[name] for part in of_parts) / len(of_parts) for name in of_parts[0]}


def parts_of(batch: Batch, count: int) -> Iterator[Batch]:
    """``count`` equal parts of a batch, in order."""
    size = len(batch["index"]) // count
    for first in range(0, size * count, size):
        yield {name: value[first : first + size] for name, value in batch.items()}
