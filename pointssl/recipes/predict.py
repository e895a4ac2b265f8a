"""`pointssl predict`: a network on the user's own files, batch by batch, with pictures."""

import csv
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from pointssl.config.tools import PredictConfig
from pointssl.engine.distributed import World, start_world
from pointssl.inference.clouds import Ready, read_ready
from pointssl.inference.listing import Input, list_inputs
from pointssl.inference.network import Network, load_network
from pointssl.inference.predicting import category_of, predict_batch
from pointssl.inference.results import (
    nearest_others,
    part_names,
    remove_older,
    say_scores,
    sheet_cells,
    shown_cloud,
    table_header,
    table_row,
    with_truth,
    write_parts,
)
from pointssl.inference.rooms import predict_room
from pointssl.recipes.data.render import evenly_spaced
from pointssl.recipes.predict_checks import (
    answers_freely,
    describe,
    given_category,
    refuse_overwriting,
)
from pointssl.reports.figures.contact_sheet import contact_sheet
from pointssl.runs.folder import RunFolder
from pointssl_datasets.base.errors import DataError, UsageError
from pointssl_datasets.base.writing import whole_file, write_file
from pointssl_datasets.viewer import part_colours, write_page

NEVER = "give --category, or train with --category none"
Read = tuple[int, Input, Ready]


def run(config: PredictConfig) -> Path:
    """Predict ``config.files``; returns the folder of the results.

    A file that can't be read or predicted gets a line and is left out; the others are done.

    Raises:
        UserError: nothing could be predicted, some files could not, or a wrong option.
    """
    if config.votes > 1 and config.sampling != "random":
        raise UsageError(f"--votes {config.votes} needs --sampling random: other points each time")
    inputs, notes = list_inputs(config.files, config.out)
    with start_world(config.device, config.threads, config.kernels) as world:
        if world.size > 1:
            raise UsageError("predict runs as one process: start it without torchrun")
        network = load_network(config.weights, named=config.backbone)
        network.module.to(world.device)
        refuse_overwriting(inputs, network, config.out)
        folder = RunFolder(config.out, config, world)
        describe(config, network, inputs, notes)
        return Prediction(config, network, inputs, folder, world).run()


class Prediction:
    """One run: reads and predicts a batch at a time, and keeps no more than is shown.

    Attributes:
        category: of every file, or None: what the network is told, or the file is compared with.
        free: whether parts of other categories can be the answer all the same.
        failed: how many files could not be predicted.
        done: the files that were, in order.
        vectors: their probabilities or embeddings, where there is one per file.
        shown, cells: of the page and of the contact sheet.
        scores: accuracy and IoU of the files with labels; for classes, whether the folder agrees.
    """

    def __init__(
        self,
        config: PredictConfig,
        network: Network,
        inputs: list[Input],
        folder: RunFolder,
        world: World,
    ) -> None:
        self.config, self.network, self.inputs, self.world = config, network, inputs, world
        self.folder = folder
        given = given_category(config, network)
        known = () if network.task == "semseg" else network.classes
        self.category = [category_of(item.folders, known, given) for item in inputs]
        self.free = answers_freely(config, network)
        if network.takes_category and not any(kind is not None for kind in self.category):
            raise UsageError(
                "the network takes the category of every object, and no file lies in a folder that "
                f"is called after one ({', '.join(network.classes[:6])}, ...): {NEVER}"
            )
        self.on_page = set(evenly_spaced(len(inputs), config.limit).tolist())
        self.failed = 0
        self.done: list[Input] = []
        self.vectors: list[Any] = []
        self.counts: list[int] = []
        self.shown: list[dict[str, Any]] = []
        self.cells: list[dict[str, Any]] = []
        self.scores: dict[str, list[float]] = {"accuracy": [], "iou": [], "folder": []}

    def run(self) -> Path:
        out = self.config.out
        bar = tqdm(total=len(self.inputs), desc="predict", unit="file",
                   disable=not self.config.progress, leave=False)  # fmt: skip
        with (
            whole_file(out / "predictions.csv") as table,
            bar,
            table.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file,
        ):
            rows = csv.writer(file)
            rows.writerow(table_header(self.network))
            reading = self.read(bar)
            while batch := list(islice(reading, self.config.batch_size)):
                self.predict(batch, rows)
            if not self.done:
                raise DataError(f"not one of {len(self.inputs)} files could be predicted")
            if self.network.task == "encoder":
                self.write_neighbours(rows)
        self.finish()
        if self.failed:
            raise DataError(
                f"{self.failed} of {len(self.inputs)} files could not be predicted: see the lines "
                f"above; the others are in {out}"
            )
        return out

    def fail(self, item: Input, error: Exception) -> None:
        self.failed += 1
        text = str(error)
        tqdm.write(f"skipped: {text if str(item.path) in text else f'{item.path}: {text}'}")

    def read(self, bar: Any) -> Iterator[Read]:
        """The files that can be read, one at a time."""
        for number, item in enumerate(self.inputs):
            bar.update()
            try:
                if self.network.takes_category and self.category[number] is None:
                    raise DataError(f"{item.path}: its folder is not called after a class: {NEVER}")
                yield (
                    number,
                    item,
                    read_ready(
                        item.path,
                        self.network,
                        up_axis=self.config.up_axis,
                        mesh_points=self.config.mesh_points,
                        estimate=self.config.estimate_normals,
                    ),
                )
            except DataError as error:
                self.fail(item, error)

    def predict(self, batch: list[Read], rows: Any) -> None:
        kinds = [self.category[number] for number, _, _ in batch]
        config = self.config
        if self.network.task == "semseg":
            said = [
                predict_room(self.network, ready.cloud, self.world.device,
                             up_axis=config.up_axis, votes=config.votes, seed=config.seed)
                for _, _, ready in batch
            ]  # fmt: skip
        else:
            said = predict_batch(
                self.network, [ready for _, _, ready in batch], kinds, self.world.device,
                free=self.free, votes=config.votes, sampling=config.sampling, seed=config.seed,
            )  # fmt: skip
        for (number, item, ready), found, kind in zip(batch, said, kinds, strict=True):
            values = next(v for k, v in found.items() if k != "label")
            if not np.isfinite(values).all():
                self.fail(item, DataError("what the network says of it is not finite"))
                continue
            found = {**found, "category": kind, "free": self.free}
            self.keep(number, item, ready, with_truth(ready, found, self.network), rows)

    def keep(
        self, number: int, item: Input, ready: Ready, found: dict[str, Any], rows: Any
    ) -> None:
        """Writes what belongs to one file, and remembers what belongs to all."""
        network = self.network
        self.done.append(item)
        self.counts.append(len(ready.xyz))
        if network.labels_points:
            write_parts(item, ready, found, network, self.config.out)
        else:
            self.vectors.append(found.get("probabilities", found.get("embedding")))
        if network.task != "encoder":
            rows.writerow(table_row(item, ready, found, network))
        for key in ("accuracy", "iou"):
            self.scores[key] += [found[key]] if key in found else []
        if network.task == "cls" and found["category"] is not None:
            self.scores["folder"].append(
                float(found["probabilities"].argmax() == found["category"])
            )
        if number in self.on_page:
            self.shown.append(shown_cloud(item, ready, found, network))
            self.cells += sheet_cells(self.shown[-1], found, network)

    def write_neighbours(self, rows: Any) -> None:
        """The rows of embeddings, which need all of them; their captions on the page too."""
        which, similarity = nearest_others(np.stack(self.vectors))
        captions = {}
        for item, count, other, close in zip(
            self.done, self.counts, which.tolist(), similarity.tolist(), strict=True
        ):
            near = self.done[other]
            rows.writerow([str(item.path), str(count), str(near.path), f"{close:.6f}"])
            captions[item.name] = f"most similar: {near.name} ({close:.3f})"
        for shown in self.shown:
            shown["caption"] = captions[shown["name"]]

    def finish(self) -> None:
        """What is about all files: vectors, contact sheet, page, and a few lines."""
        config, network, out = self.config, self.network, self.config.out
        written = [out / "predictions.csv"]
        if self.vectors:
            key = "embeddings" if network.task == "encoder" else "probabilities"
            columns: dict[str, Any] = {
                key: np.stack(self.vectors).astype(np.float32),
                "files": np.array([str(item.path) for item in self.done]),
                "classes": np.array(network.classes, dtype=str),
            }
            write_file(out / "predictions.npz", partial(np.savez_compressed, **columns))
            written.append(out / "predictions.npz")
        else:
            written.append(out / "clouds")
        if self.shown:
            title = f"{config.files[0].resolve().name if len(config.files) == 1 else 'Predictions'}"
            failed = f" ({self.failed} could not be predicted)" if self.failed else ""
            subtitle = (
                f"{len(self.shown)} of {len(self.inputs)} files{failed}, predicted by "
                f"{config.weights.name} ({network.task}, {network.metadata['backbone']})"
            )
            parts = part_names(network)
            cells = sorted(self.cells, key=lambda cell: cell["group"])
            contact_sheet(
                cells, out / "predictions.png", title=title, subtitle=subtitle,
                parts=parts, colours=part_colours(parts),
            )  # fmt: skip
            write_page(
                out / "predictions.html", self.shown, title=title, subtitle=subtitle,
                classes=network.classes, parts=parts, colour_by="predicted",
            )  # fmt: skip
            written += [out / "predictions.png", out / "predictions.html"]
        remove_older(out, written)
        self.folder.finish(self.summary(written))
        say_scores(self.scores)
        print(f"written: {', '.join(map(str, written))}", flush=True)

    def summary(self, written: list[Path]) -> dict[str, Any]:
        """What ``results.json`` says: counts, means of the scores, and what was written."""
        means = {name: float(np.mean(values)) for name, values in self.scores.items() if values}
        return {
            "task": self.network.task,
            "weights": str(self.config.weights),
            "files": len(self.inputs),
            "predicted": len(self.done),
            "failed": self.failed,
            "scores": means,
            "written": [str(path) for path in written],
        }
