"""Whether a run directory may be continued."""

from dataclasses import fields
from pathlib import Path
from typing import Any

from pointssl.checkpoints.file import load_checkpoint
from pointssl.config.groups import TrainingOptions
from pointssl.config.options import to_dict
from pointssl_datasets.base.errors import UsageError


def earlier_run(
    path: Path, config: TrainingOptions, task: str | None = None
) -> dict[str, Any] | None:
    """The checkpoint to continue from, or None.

    Args:
        task: of fine-tuning; None: pretraining.

    Raises:
        UsageError: there is one, and ``--resume never`` or other options were given.
    """
    if not path.exists():
        return None
    if config.resume == "never":
        raise UsageError(
            f"{path.parent.parent} holds a run already: give another --run-dir, delete it, "
            "or continue it with --resume auto"
        )
    checkpoint = load_checkpoint(path)
    if "config" not in checkpoint or "optimizer" not in checkpoint:
        raise UsageError(f"{path} holds weights alone and cannot be continued")
    other = checkpoint["facts"].get("task")
    if other != task:
        kind = f"fine-tuning for {other}" if other else "pretraining"
        raise UsageError(f"{path.parent.parent} holds a run of {kind}: give another --run-dir")
    # An option that came after the checkpoint was written had its default.
    before = {**to_dict(type(config)()), **checkpoint["config"]}
    now = to_dict(config)
    differing = [
        f"--{f.name.replace('_', '-')} {before[f.name]} then, {now[f.name]} now"
        for f in fields(config)
        if f.metadata["changes_results"] and before[f.name] != now[f.name]
    ]
    if differing:
        raise UsageError(
            f"{path.parent.parent} holds a run with other options ({'; '.join(differing[:3])}): "
            "give another --run-dir, or the same options to continue"
        )
    return checkpoint
