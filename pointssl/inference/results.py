"""What is kept of a prediction: files per cloud, a table, and what pages and sheets show."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pointssl.inference.clouds import Ready
from pointssl.inference.listing import Input
from pointssl.inference.network import Network
from pointssl.metrics import shape_iou
from pointssl_datasets.base.errors import UserError
from pointssl_datasets.base.source import Cloud
from pointssl_datasets.base.writing import whole_file, write_file
from pointssl_datasets.files.writers import write_ply
from pointssl_datasets.points.choosing import choose_points
from pointssl_datasets.points.normals import estimate_normals
from pointssl_datasets.rendering.clouds import render_views
from pointssl_datasets.viewer import part_colours

SHOWN = 2048  # points of a cloud on the page and the sheet
PICTURE = 300  # pixels, side of what is drawn for the contact sheet
OF_ALL_FILES = ("predictions.csv", "predictions.npz", "predictions.png", "predictions.html")
RIGHT, WRONG = (0.80, 0.83, 0.86), (0.80, 0.20, 0.12)

Found = Mapping[str, Any]


def part_names(network: Network) -> tuple[str, ...]:
    """Names for pictures. Those of a network that takes no category have no ``/``, so that they
    stay in full and each has a colour of its own: a cloud can have parts of several categories."""
    if network.takes_category:
        return network.parts
    return tuple(name.replace("/", " ") for name in network.parts)


def table_header(network: Network) -> list[str]:
    """The columns of ``predictions.csv``."""
    if network.task == "cls":
        places = range(1, min(3, len(network.classes)) + 1)
        named = [f"{what}{'' if place == 1 else f'_{place}'}" for place in places
                 for what in ("class", "probability")]  # fmt: skip
        return ["file", "points", "folder_class", *named]
    if network.labels_points:
        return ["file", "ply", "category", "points", "accuracy", "iou", *network.parts]
    return ["file", "points", "nearest", "similarity"]


def table_row(item: Input, ready: Ready, found: Found, network: Network) -> list[str]:
    """The row of a cloud, for a network with a head."""
    points = str(len(ready.xyz))
    category = found["category"]
    folder = "" if category is None else network.classes[category]
    if network.task == "cls":
        best = np.argsort(-found["probabilities"], kind="stable")[: min(3, len(network.classes))]
        cells = [text for k in best
                 for text in (network.classes[k], f"{found['probabilities'][k]:.6f}")]  # fmt: skip
        return [str(item.path), points, folder, *cells]
    counts = np.bincount(found["label"], minlength=len(network.parts))
    free = found["free"] or category is None or not network.parts_of
    allowed = range(len(counts)) if free else network.parts_of[category]
    shares = [f"{n / len(ready.xyz):.6f}" if k in allowed else "" for k, n in enumerate(counts)]
    scores = [f"{found[key]:.6f}" if key in found else "" for key in ("accuracy", "iou")]
    return [str(item.path), f"clouds/{item.name}.ply", folder, points, *scores, *shares]


def with_truth(ready: Ready, found: dict[str, Any], network: Network) -> dict[str, Any]:
    """``found`` with ``truth``, ``accuracy`` and, where the category is known, ``iou``, if the file
    has part labels that can be this network's: numbers of its parts, of that category."""
    truth, category = ready.cloud.get("part"), found["category"]
    if truth is None or not network.labels_points or truth.max() >= len(network.parts):
        return found
    scores = {"truth": truth, "accuracy": float((truth == found["label"]).mean())}
    if category is not None and network.parts_of:
        if not np.isin(truth, network.parts_of[category]).all():
            return found
        iou = shape_iou([found["label"]], [truth], np.array([category]), network.parts_of)
        scores["iou"] = float(iou[0])
    return {**found, **scores}


def write_parts(item: Input, ready: Ready, found: Found, network: Network, out: Path) -> None:
    """``clouds/NAME.ply``, coloured and with labels, and ``clouds/NAME.npz``: ``label``,
    ``probability`` of that label, and the names of ``parts``; in the axes of the file.

    Raises:
        UserError: the folder can't be written.
    """
    colours = (part_colours(part_names(network))[found["label"]] / 255).astype(np.float32)
    cloud = Cloud(xyz=ready.cloud["xyz"], colours=colours, part=found["label"])
    if "normals" in ready.cloud:
        cloud["normals"] = ready.cloud["normals"]
    with whole_file(out / "clouds" / f"{item.name}.ply") as part:
        write_ply(part, cloud)
    columns: dict[str, Any] = {
        "label": found["label"],
        "probability": found["probability"],
        "parts": np.array(network.parts),
    }
    write_file(out / "clouds" / f"{item.name}.npz", partial(np.savez_compressed, **columns))


def caption_of(found: Found, network: Network) -> str:
    """The line below a cloud."""
    if network.task == "cls":
        best = int(found["probabilities"].argmax())
        said = f"predicted: {network.classes[best]} {100 * found['probabilities'][best]:.0f} %"
        kind = found["category"]
        return said if kind is None else f"{said}; its folder: {network.classes[kind]}"
    if network.labels_points:
        said = f"{100 * found['accuracy']:.1f} % of the points right" if "accuracy" in found else ""
        return said + (f", IoU {100 * found['iou']:.1f} %" if "iou" in found else "")
    return ""


def shown_cloud(item: Input, ready: Ready, found: Found, network: Network) -> dict[str, Any]:
    """A cloud for :func:`pointssl_datasets.viewer.write_page`: some of its points, y-up."""
    points = min(SHOWN, len(ready.xyz))
    rows = choose_points(ready.xyz, points, "random", seed=0, epoch=0, index=0)
    rows = np.sort(rows) if points < len(ready.xyz) else np.arange(points)
    xyz = ready.xyz[rows]
    label = found["category"]
    if network.task == "cls":
        label = int(found["probabilities"].argmax())
    shown: dict[str, Any] = {
        "name": item.name,
        "file": item.path.stem,  # the sheet has less room
        "label": -1 if label is None else label,
        "xyz": xyz,
        "caption": caption_of(found, network),
    }
    if len(xyz) > 2:
        shown |= {"normals": estimate_normals(xyz), "estimated": True}  # for the light
    if network.labels_points:
        shown["predicted"] = found["label"][rows]
        if "truth" in found:
            shown["part"] = found["truth"][rows]
    elif "colours" in ready.cloud:
        shown["colours"] = ready.cloud["colours"][rows]
    return shown


def sheet_cells(shown: Mapping[str, Any], found: Found, network: Network) -> list[dict[str, Any]]:
    """Cells of a :func:`~pointssl.reports.figures.contact_sheet.contact_sheet`: one, or three where
    the truth is known."""
    group = "" if shown["label"] < 0 else network.classes[shown["label"]]
    name = shown["name"]
    if network.task == "cls":
        share = 100 * found["probabilities"].max()
        return [_cell(group, f"{share:.0f} %  {name}", shown, shown.get("colours"), [])]
    if not network.labels_points:
        return [_cell(group, name, shown, shown.get("colours"), [])]
    palette = 0.2 + 0.8 * part_colours(part_names(network)) / 255  # shading makes them darker
    predicted, truth = shown["predicted"], shown.get("part")
    drawn = [(name, palette[predicted], predicted)]
    if truth is not None:
        wrong = np.where((predicted != truth)[:, None], WRONG, RIGHT)
        drawn = [
            (f"as labelled: {shown['file']}", palette[truth], truth),
            ("predicted", palette[predicted], predicted),
            (f"{100 * (1 - found['accuracy']):.1f} % wrong, in red", wrong, truth[:0]),
        ]
    return [
        _cell(group, words, shown, paint, np.unique(parts).tolist())
        for words, paint, parts in drawn
    ]


def _cell(
    group: str,
    name: str,
    shown: Mapping[str, Any],
    paint: NDArray[Any] | None,
    parts: Sequence[int],
) -> dict[str, Any]:
    picture = render_views(shown["xyz"], None, colours=paint, views=1, size=PICTURE, seed=0)[0]
    return {"group": group, "name": name, "picture": picture, "image": None, "parts": parts}


def remove_older(out: Path, written: Sequence[Path]) -> None:
    """Removes what an earlier run wrote about all its files, but for what is ``written`` anew.

    Raises:
        UserError: a file can't be removed.
    """
    for path in (out / name for name in OF_ALL_FILES):
        if path not in written and path.is_file():
            try:
                path.unlink()
            except OSError as error:
                raise UserError(
                    f"{path}: an earlier run's, and can't be removed: {error.strerror or error}"
                ) from None


def say_scores(scores: Mapping[str, Sequence[float]]) -> None:
    """A line on the files with labels, and one on those in folders called after a class.

    Args:
        scores: ``accuracy`` and ``iou`` of the former, 1 or 0 as ``folder`` of the latter.
    """
    accuracy, iou, folder = (scores[key] for key in ("accuracy", "iou", "folder"))
    if accuracy:
        more = f", IoU {100 * np.mean(iou):.1f} %" if iou else ""
        print(
            f"{len(accuracy)} files have labels: {100 * np.mean(accuracy):.1f} % of the points "
            f"right{more}, the mean over files"
        )
    if folder:
        print(
            f"{len(folder)} files lie in folders called after a class: "
            f"{sum(folder):.0f} are predicted so"
        )


def nearest_others(
    embeddings: NDArray[np.float32],
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Of each of ``(M, D)`` the most similar other one by cosine, or itself if it is alone, and
    how similar it is."""
    length = np.linalg.norm(embeddings, axis=1, keepdims=True)
    unit = embeddings / np.maximum(length, 1e-30)
    which, similarity = np.zeros(len(unit), dtype=np.int64), np.ones(len(unit), dtype=np.float32)
    for start in range(0, len(unit) if len(unit) > 1 else 0, 512):
        close = unit[start : start + 512] @ unit.T
        close[np.arange(len(close)), np.arange(start, start + len(close))] = -np.inf
        which[start : start + 512] = close.argmax(axis=1)
        similarity[start : start + 512] = close.max(axis=1)
    return which, similarity
