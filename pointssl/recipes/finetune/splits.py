"""Which clouds a fine-tuning trains on, validates on and is tested on."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pointssl.config.finetune import FinetuneOptions
from pointssl.engine.distributed import World
from pointssl.features.encoder import LoadedEncoder
from pointssl.probes.protocols import stratified_subset
from pointssl.recipes.finetune.presets import Preset
from pointssl.recipes.splits import list_split, open_split
from pointssl_datasets.base.errors import DataError, UsageError, UserError
from pointssl_datasets.catalogue import CATALOGUE
from pointssl_datasets.serving.dataset import CloudDataset

Rows = NDArray[np.int64]
STAYS = 43  # a stream of random numbers of its own


class Splits(NamedTuple):
    """Datasets, and which of their clouds are used.

    Attributes:
        train, rows: for training.
        val, val_rows: to choose the epoch, or None and nothing.
        test, test_rows: looked at once.
        notes: lines for the user.
    """

    train: CloudDataset
    rows: Rows
    val: CloudDataset | None
    val_rows: Rows
    test: CloudDataset
    test_rows: Rows
    notes: list[str]


def open_splits(
    config: FinetuneOptions,
    preset: Preset,
    loaded: LoadedEncoder,
    world: World,
    only: int | None = None,
) -> Splits:
    """All splits, before the first step: what does not fit fails early.

    Validation is the public ``val`` split where the dataset has one, else a stratified share of
    train. With ``--label-fraction`` both shrink alike, as its labels are labels too.

    Args:
        only: keep the clouds of this class alone.

    Raises:
        DataError, UsageError: a split is missing or empty.
    """
    if config.data.startswith("concat:"):
        raise UsageError(f"--data {config.data!r}: a mixture is for pretraining; name one dataset")

    def opened(split: str) -> CloudDataset:
        served: dict[str, Any] = {**loaded.serve, "sampling": config.sampling, "seed": config.seed}
        found = open_split(config, split, world, progress=config.progress, **served)
        assert isinstance(found, CloudDataset)
        return found

    def rows_of(dataset: CloudDataset) -> Rows:
        rows = np.arange(len(dataset))
        if only is not None:
            rows = rows[dataset.labels == only]
        if not len(rows):
            raise DataError(f"{dataset.name}: {dataset.split} has no cloud of that category")
        return rows

    notes: list[str] = []
    val = None
    official = _has_official_val(config.data)
    wanted = bool(config.val_share)
    joined = official and preset.join_val and not wanted  # never trained on what is validated on
    train = opened("trainval" if joined else "train")
    if joined:
        notes.append("trained on train and val together, as the protocol has it")
    test = opened("test")
    if wanted and (official or _has_val(config)):
        val = opened("val")
    rows = rows_of(train)
    rows = rows[stratified_subset(train.labels[rows], config.label_fraction, config.seed)]
    val_rows = np.empty(0, dtype=np.int64)
    if val is not None:
        val_rows = rows_of(val)
        chosen = stratified_subset(val.labels[val_rows], config.label_fraction, config.seed)
        val_rows = val_rows[chosen]
    elif wanted:
        rows, val_rows = held_out(rows, train.labels, float(config.val_share or 0), config.seed)
        if len(val_rows):
            val = opened("train")
            held = len(val_rows) + len(rows)
            notes.append(
                f"{len(val_rows)} of {held} train clouds are held out to choose the epoch: "
                f"{100 * len(val_rows) / held:.0f}%, one of each class at least"
            )
        else:
            notes.append("too few labels to hold any out: the last epoch is taken")
    return Splits(train, rows, val, val_rows, test, rows_of(test), notes)


def _has_official_val(data: str) -> bool:
    entry = CATALOGUE.get(data)
    return entry is not None and "val" in (entry.clouds or ())


def _has_val(config: FinetuneOptions) -> bool:
    """Whether there is a val split; listed, not opened, as only some ranks might fail to."""
    try:
        list_split(config, "val", on_unpaired="skip")
    except UserError:
        return False
    return True


def held_out(rows: Rows, labels: Rows, share: float, seed: int) -> tuple[Rows, Rows]:
    """``rows`` without a stratified ``share`` of them, and that share.

    Every class keeps a cloud for training, so that it is trained on.
    """
    own = labels[rows]
    # The first of each class in a random order stays; the share is taken of the others.
    order = np.random.default_rng([STAYS, seed]).permutation(len(rows))
    stays = order[np.unique(own[order], return_index=True)[1]]
    others = np.setdiff1d(np.arange(len(rows)), stays)
    if not len(others):
        return rows, rows[:0]
    wanted = np.sort(np.setdiff1d(stratified_subset(own, share, seed), stays))
    lacking = np.setdiff1d(own[others], own[wanted])  # classes whose only chosen cloud stays
    more = [others[np.flatnonzero(own[others] == value)[0]] for value in lacking]
    taken = np.sort(np.append(wanted, np.array(more, dtype=np.int64)))
    return np.delete(rows, taken), rows[taken]
