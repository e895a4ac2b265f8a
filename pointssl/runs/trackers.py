"""Where the numbers of each epoch go: ``metrics.jsonl``, and TensorBoard beside it."""

import json
from pathlib import Path
from typing import Any

from pointssl_datasets.base.errors import UserError
from pointssl_datasets.base.writing import write_text

METRICS = "metrics.jsonl"
Row = dict[str, Any]


def read_metrics(folder: Path) -> list[Row]:
    """The rows of ``metrics.jsonl``; a line cut off by a crash is left out."""
    rows = []
    try:
        lines = (folder / METRICS).read_text(encoding="utf-8").splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return []
    for line in lines:
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return rows


class JsonLines:
    """``metrics.jsonl``: a row per epoch.

    Args:
        folder: of the run.
        epoch: epochs completed, -1 for a run that begins. Rows of later ones are of a run that was
            cut off after its last checkpoint, and are dropped.
    """

    def __init__(self, folder: Path, epoch: int) -> None:
        self.path = folder / METRICS
        kept = [row for row in read_metrics(folder) if row["epoch"] <= epoch]
        write_text(self.path, "".join(json.dumps(row) + "\n" for row in kept))

    def log(self, row: Row) -> None:
        try:
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
        except OSError as error:
            raise UserError(f"could not write {self.path}: {error.strerror}") from None

    def close(self) -> None:
        """There is nothing to close: every row is written at once."""


class TensorBoard:
    """The numbers of each row as scalars, in ``tensorboard/``; arguments as :class:`JsonLines`."""

    def __init__(self, folder: Path, epoch: int) -> None:
        from torch.utils.tensorboard import SummaryWriter  # takes a second to import

        self.board = SummaryWriter(str(folder / "tensorboard"), purge_step=epoch + 1)

    def log(self, row: Row) -> None:
        for name, value in row.items():
            if name != "epoch" and isinstance(value, (int, float)):
                self.board.add_scalar(name, value, row["epoch"])
        self.board.flush()

    def close(self) -> None:
        self.board.close()


class Trackers:
    """All trackers of a run as one.

    It is a context, at whose end they are closed.

    Args:
        folder, epoch: as of :class:`JsonLines`.
        is_main: whether this is rank 0; others track nothing.

    Raises:
        UserError: ``folder`` can't be written.
    """

    def __init__(self, folder: Path, epoch: int, *, is_main: bool = True) -> None:
        kinds = (JsonLines, TensorBoard) if is_main else ()
        self.trackers = [kind(folder, epoch) for kind in kinds]

    def log(self, row: Row) -> None:
        """One row of plain values, with its ``epoch``."""
        for tracker in self.trackers:
            tracker.log(row)

    def __enter__(self) -> "Trackers":
        return self

    def __exit__(self, *error: object) -> None:
        for tracker in self.trackers:
            tracker.close()
