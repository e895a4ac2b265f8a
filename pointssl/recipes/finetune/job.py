"""What a task brings to fine-tuning."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import Generator, Tensor, nn

from pointssl.checkpoints.metadata import Metadata
from pointssl.engine.distributed import World
from pointssl.features.encoder import LoadedEncoder
from pointssl.recipes.finetune.presets import Preset
from pointssl_datasets.serving.mixing import PointDataset

Rows = NDArray[np.int64]
Filled: TypeAlias = Any  # options that the protocol has filled in: none of them is None any more


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a task brings to one run of fine-tuning.

    Attributes:
        task: key of :data:`pointssl.tasks.TASKS`.
        task_args: of its class, beside the encoder.
        metadata: that later commands need: ``classes``, ``parts`` and so on.
        dataset: the clouds that are trained on.
        rows: which of them.
        prepare: a batch on the training device, augmented, from a generator.
        validate: scores of the network by name, the same on every rank; or None.
        select_by: the score that the best epoch has the highest of.
        test: plain results of the network on the test split, the same on every rank.
        draw: pictures of the test split; rank 0 calls it.
        tested_on: fingerprint of the test split, to find out whether the encoder has seen it.
        notes: lines for the user.
    """

    task: str
    task_args: dict[str, Any]
    metadata: Metadata
    dataset: PointDataset
    rows: Rows
    prepare: Callable[[dict[str, Tensor], Generator], dict[str, Tensor]]
    validate: Callable[[nn.Module], dict[str, float]] | None
    select_by: str
    test: Callable[[nn.Module], dict[str, Any]]
    draw: Callable[[nn.Module, dict[str, Any]], list[Path]]
    tested_on: str = ""
    notes: list[str] = field(default_factory=list)


MakeJob = Callable[[Any, LoadedEncoder, World], Job]
Means = dict[str, dict[str, Any]]  # kind of score -> score -> its mean and deviation over seeds


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One of the ``pointssl finetune`` commands.

    Attributes:
        run: ``"package.module:function"`` that takes its options, for tries in other processes.
        presets: what each protocol fills in, by name.
        make_job: data, head and evaluation of one run.
        report: prints the results of all seeds, and returns their means.
    """

    run: str
    presets: dict[str, Preset]
    make_job: MakeJob
    report: Callable[[Any, list[dict[str, Any]]], Means]
