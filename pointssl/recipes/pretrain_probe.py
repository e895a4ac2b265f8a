"""A probe during pretraining: how good is the frozen encoder, epoch after epoch?

It is scored by cross-validation on the train split of a labelled set. The test split is never
opened, so that an epoch can be chosen by the score. Training is not affected: weights, random
states, modes and buffers are the same with and without a probe.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pointssl.checkpoints.file import save_network
from pointssl.checkpoints.metadata import Metadata
from pointssl.config.pretrain import PretrainConfig
from pointssl.engine.distributed import World
from pointssl.features.extraction import extract
from pointssl.methods.base import Method
from pointssl.probes.base import Probe
from pointssl.probes.build import find_probe
from pointssl.probes.cross_validation import Folds, cross_validate
from pointssl.probes.protocols import stratified_folds
from pointssl.recipes.splits import open_split
from pointssl_datasets.base.errors import DataError, UsageError
from pointssl_datasets.serving.mixing import PointDataset

BEST = Path("checkpoints") / "best.pt"
FOLDS = 5


@dataclass(frozen=True)
class EncoderProbe:
    """The probes of ``--probe`` on the labelled clouds of one dataset.

    Attributes:
        config: of the run.
        world: every rank computes features, rank 0 scores them.
        probes: by name; the first one's first number chooses the epoch of ``--keep best``.
        dataset: the train split.
        labelled: ``(M,)`` rows of it that have a class.
        folds: of those rows.
    """

    config: PretrainConfig
    world: World
    probes: dict[str, Probe]
    dataset: PointDataset
    labelled: NDArray[np.int64]
    folds: Folds

    @property
    def watch(self) -> dict[str, str]:
        """Key of each score in ``metrics.jsonl`` -> its label."""
        return self._labels()

    @property
    def headlines(self) -> dict[str, str]:
        """The part of :attr:`watch` for the line of an epoch: the first number of each probe."""
        return self._labels(most=1)

    def _labels(self, most: int | None = None) -> dict[str, str]:
        """Keys and labels of the first ``most`` numbers of each probe."""
        return {
            f"probe_{name}_{key}": f"{name} {heading}"
            for name, probe in self.probes.items()
            for heading, key in list(probe.numbers.items())[:most]
        }

    def is_due(self, epoch: int) -> bool:
        """Whether the encoder is scored after so many epochs."""
        return epoch % self.config.probe_every == 0 or epoch == self.config.epochs

    def describe(self) -> None:
        """Print what is scored, on what."""
        for note in self.dataset.notes:
            self.world.say(f"note: probe: {note}")
        count = self.config.probe_every
        self.world.say(
            f"probe: {', '.join(self.probes)} on {len(self.labelled)} labelled train clouds of "
            f"{self.dataset.name}, {len(self.folds)}-fold cross-validation, every "
            + ("epoch" if count == 1 else f"{count} epochs")
        )

    def scores(self, encoder: nn.Module) -> dict[str, float]:
        """Score of each key of :attr:`watch`, on every rank; every rank must call it.

        Raises:
            UserError: a feature is not finite, or the data can't be evaluated so.
        """
        with in_evaluation(encoder, self.world):
            features = extract(
                encoder,
                self.dataset,
                self.world,
                progress=self.config.progress,
                title="probe",
            )
        found: dict[str, float] = {}
        error: DataError | None = None
        if self.world.is_main:
            x, y = features[self.labelled], self.dataset.labels[self.labelled]
            try:
                for name, probe in self.probes.items():
                    scored = cross_validate(probe, x, y, self.folds, self.dataset.classes)
                    found |= {f"probe_{name}_{key}": value for key, value in scored.items()}
            except DataError as caught:  # raised on all ranks
                error = DataError(f"--probe {name} on {self.dataset.name}: {caught}")
        found, error = self.world.gather((found, error))[0]
        if error is not None:
            raise error
        return found

    def before_training(self, encoder: nn.Module) -> dict[str, Any]:
        """The row of epoch 0: scores of the random initialisation, which are printed."""
        found = self.scores(encoder)
        shown = ", ".join(f"{label} {found[key]:.3f}" for key, label in self.headlines.items())
        self.world.say(f"epoch 0, random initialisation: {shown}")
        return {"epoch": 0, **found}

    def after_epoch(
        self,
        epoch: int,
        method: Method,
        kept: dict[str, Any],
        *,
        metadata: Metadata,
        options: dict[str, Any],
    ) -> dict[str, float]:
        """Scores, where they are due; with ``--keep best`` ``best.pt`` holds the best epoch so far.

        It is written before ``last.pt``, which remembers which epoch it is: a run that is killed in
        between repeats the epoch, and writes the same file again.

        Args:
            kept: what the run remembers; ``best`` in it has ``epoch``, ``score`` and ``by``, the
                number that it is the best by.
            metadata, options: of the run, for the checkpoint.
        """
        if not self.is_due(epoch):
            return {}
        found = self.scores(method.encoder)
        score = next(iter(found.values()))
        if self.config.keep == "best" and score > kept.get("best", {}).get("score", -np.inf):
            kept["best"] = {
                "epoch": epoch,
                "score": score,
                "by": next(iter(self.headlines.values())),
            }
            if self.world.is_main:
                path = self.config.run_dir / BEST
                save_network(path, method, metadata, config=options, kept=kept)
        return found


def open_probe(config: PretrainConfig, world: World) -> EncoderProbe | None:
    """What ``--probe-every`` asks for, or None.

    Raises:
        UsageError: an unknown probe or dataset, or one that is served otherwise than the encoder
            needs.
        DataError: there are no labels, a single class, or no class of two clouds.
    """
    if not config.probe_every:
        return None
    names = [name.strip() for name in config.probe.split(",") if name.strip()]
    probes = {name.rpartition(":")[2]: find_probe(name)() for name in names}
    if not probes:
        raise UsageError("--probe: name at least one; `pointssl list probes` shows them")
    dataset = open_split(
        probe_data(config), "train", world, progress=config.progress, seed=config.seed
    )
    labelled = np.flatnonzero(dataset.labels >= 0) if dataset.classes else np.array([], np.int64)
    labels = dataset.labels[labelled]
    flag = "--probe-data"
    if not len(labels):
        raise DataError(f"{flag} {dataset.name}: it has no labels; name a set that has")
    known, counts = np.unique(labels, return_counts=True)
    if len(known) < 2:
        raise DataError(
            f"{flag} {dataset.name}: every train cloud is of the class "
            f"{dataset.classes[known[0]]}; a probe needs at least two classes"
        )
    if counts.max() < 2:
        raise DataError(
            f"{flag} {dataset.name}: each of {len(known)} classes has one train cloud, which "
            "cross-validation can't both train on and score"
        )
    folds, notes = stratified_folds(labels, FOLDS, seed=0)
    for note in notes:
        world.say(f"note: probe: {note}")
    return EncoderProbe(config, world, probes, dataset, labelled, folds)


def probe_data(config: PretrainConfig) -> PretrainConfig:
    """The options with the probe's data in place of those that are trained on.

    What is said of the trained data's files does not hold for another dataset.
    """
    changes: dict[str, Any] = {"points": config.probe_points or config.points}
    if config.probe_data not in (None, config.data) or config.probe_root is not None:
        changes |= {
            "data": config.probe_data or config.data,
            "data_root": config.probe_root,
            "up_axis": "auto",
            "skip_list": None,
            "mesh_points": None,
            "size": None,
        }
    if config.probe_size is not None:
        changes["size"] = config.probe_size
    return replace(config, **changes)


@contextlib.contextmanager
def in_evaluation(encoder: nn.Module, world: World) -> Iterator[None]:
    """The encoder in evaluation mode, with rank 0's running statistics on every rank; afterwards
    modes, buffers and the random state are as they were."""
    modes = [(module, module.training) for module in encoder.modules()]
    buffers = [(buffer, buffer.clone()) for buffer in encoder.buffers()]
    gpus = [world.device] if world.device.type == "cuda" else []
    with torch.no_grad(), torch.random.fork_rng(devices=gpus):
        world.share_buffers(encoder)
        encoder.eval()
        try:
            yield
        finally:
            for module, training in modes:
                module.training = training
            for buffer, before in buffers:
                buffer.copy_(before)
