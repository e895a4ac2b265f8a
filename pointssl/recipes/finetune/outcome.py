"""The end of a fine-tuning: the chosen weights, their results on test, and pictures."""

from pathlib import Path
from typing import Any

from torch import nn

from pointssl.checkpoints.file import load_weights, save_network
from pointssl.checkpoints.metadata import Metadata
from pointssl.config.options import to_dict
from pointssl.engine.distributed import World
from pointssl.engine.training import LAST
from pointssl.features.encoder import LoadedEncoder, where
from pointssl.recipes.finetune.job import Filled, Job
from pointssl.recipes.finetune.presets import LAST_EPOCH, Preset
from pointssl.runs.folder import RunFolder
from pointssl_datasets.base.errors import UserError

MODEL = Path("checkpoints") / "model.pt"


def evaluate_and_save(
    task: nn.Module,
    config: Filled,
    preset: Preset,
    loaded: LoadedEncoder,
    job: Job,
    kept: dict[str, Any],
    metadata: Metadata,
    world: World,
) -> dict[str, Any]:
    """The chosen weights into ``model.pt``, their results on test into ``results.json``."""
    epoch, by = config.epochs, "the last epoch"
    validation = None
    if kept:
        best = kept["best"]
        load_weights(task, best["weights"], config.run_dir / LAST)
        epoch, by = best["epoch"], f"the best {job.select_by} on validation"
        validation = {"score": best["score"], "by": job.select_by}
    world.share_buffers(task)
    if world.is_main:
        save_network(config.run_dir / MODEL, task, metadata, config=to_dict(config))
    results = {
        "task": job.task,
        "protocol": config.protocol,
        "data": config.data,
        "backbone": metadata["backbone"],
        "k": loaded.arguments.get("k"),
        "points": metadata["points"],
        "sampling": config.sampling,
        "weights": where(config.weights),
        "frozen": config.freeze_backbone,
        "seed": config.seed,
        "train": len(job.rows),
        "label_fraction": config.label_fraction,
        "epochs": config.epochs,
        "epoch": epoch,
        "epoch_chosen_by": by,
        "validation": validation,
        "votes": config.votes,
        "caveats": [line for line in preset.caveats if not (kept and line == LAST_EPOCH)],
        "notes": [*loaded.notes, *job.notes, *job.dataset.notes],
        "test": job.test(task.eval()),
        "checkpoint": str(config.run_dir / MODEL),
    }
    if world.is_main:
        RunFolder(config.run_dir, config, world).write_results(results)
        if config.pictures:
            draw_results(job, task, results)
    world.barrier()
    return results


def draw_results(job: Job, task: nn.Module, results: dict[str, Any]) -> None:
    """The task's pictures; a run is not lost for want of them."""
    try:
        for path in job.draw(task, results):
            print(f"picture: {path}")
    except UserError as error:
        print(f"no picture: {error}")
