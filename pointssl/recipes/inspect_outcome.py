"""The results of `pointssl inspect`: as plain values, as tables and files, and as figures."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from pointssl.config.options import to_dict
from pointssl.config.tools import InspectConfig
from pointssl.features.encoder import LoadedEncoder
from pointssl.inspection.cka import cka_matrix
from pointssl.inspection.layers import Inside
from pointssl.recipes.evaluate_outcome import draw
from pointssl.reports.figures.layers import cka_figure, component_colours, layers_sheet
from pointssl.reports.figures.tensorboard import write_board
from pointssl.reports.inspection import (
    how_counted,
    how_measured,
    layers_table,
    modules_table,
    totals_lines,
    warnings_of,
)
from pointssl.runs.folder import RunFolder
from pointssl_datasets.serving.mixing import PointDataset


@dataclass(frozen=True)
class Inspected:
    """A network and all that was seen of it."""

    label: str
    loaded: LoadedEncoder
    modules: list[dict[str, Any]]
    totals: dict[str, Any]
    inside: Inside


def told(
    config: InspectConfig, found: list[Inspected], clouds: PointDataset, chosen: list[int]
) -> dict[str, Any]:
    """Everything as plain values."""
    result: dict[str, Any] = {
        "config": to_dict(config),
        "data": clouds.facts(),
        "clouds": [str(clouds.names[i]) for i in chosen],
        "points": clouds.points,
        "networks": [
            {
                "label": seen.label,
                "name": seen.loaded.name,
                **seen.loaded.facts,
                "serve": seen.loaded.serve,
                "notes": list(seen.loaded.notes),
                "totals": seen.totals,
                "modules": seen.modules,
                "layers": seen.inside.statistics,
                "attention": seen.inside.attention,
            }
            for seen in found
        ],
    }
    if config.compare:
        result["cka"] = {
            "estimator": "linear CKA, HSIC without bias (Song et al. 2012)",
            "rows": len(next(iter(found[0].inside.sampled.values()), [])),
            "layers": [list(seen.inside.sampled) for seen in found],
            **{
                name: _plain(cka_matrix(found[i].inside.sampled, found[j].inside.sampled))
                for name, i, j in (("first", 0, 0), ("both", 0, 1), ("second", 1, 1))
            },
        }
    return result


def _plain(matrix: list[list[float]]) -> list[list[float | None]]:
    """JSON has no NaN."""
    return [[value if np.isfinite(value) else None for value in row] for row in matrix]


def report(
    config: InspectConfig, found: list[Inspected], result: dict[str, Any], folder: RunFolder
) -> None:
    """Prints the tables and writes ``inspect.json``, the pictures and the TensorBoard events."""
    first = found[0].totals["clouds"]
    print(f"{len(result['clouds'])} clouds of {config.data} {config.split}, "
          f"{result['points']} points each, seed {config.seed}")  # fmt: skip
    for seen in found:
        loaded = seen.loaded
        k = loaded.arguments.get("k", getattr(loaded.encoder, "k", None))
        print(f"\n{seen.label}: {loaded.facts['backbone']}, {loaded.name}"
              f"{'' if k is None else f', k = {k}'}")  # fmt: skip
        for note in loaded.notes:
            print(f"note: {note}")
        if not config.compare:
            print(f"\none pass of {first} clouds:")
            print("\n".join(modules_table(seen.modules, config.depth)))
        print()
        print("\n".join(layers_table(seen.inside.statistics)))
        if not seen.inside.statistics:
            print("- no layers: it names none, and none of its children gives features (B, M, C)")
        for line in warnings_of(seen.inside.statistics):
            print(line)
        for name in seen.inside.unplaced:
            print(f"- {name}: its places are not known; not drawn, not compared")
    print(f"\none pass of {first} clouds:")
    print("\n".join(totals_lines({seen.label: seen.totals for seen in found})))
    peak = found[0].totals["peak_bytes"] is not None
    print("\n".join(how_counted(config.passes, peak)))
    layers = [row for seen in found for row in seen.inside.statistics.values()]
    print("\n".join(how_measured(layers)), flush=True)
    folder.write_json("inspect.json", result)
    folder.finish(
        {
            **{name: result[name] for name in ("data", "clouds", "points")},
            "networks": {seen.label: seen.totals for seen in found},
            "more": "inspect.json",
        }
    )
    print(f"numbers: {config.out / 'inspect.json'}")
    draw_all(config, found, result)


def draw_all(config: InspectConfig, found: list[Inspected], result: dict[str, Any]) -> None:
    """The sheets of layers, the heat maps of CKA, and both for TensorBoard."""
    pictures, meshes = {}, {}
    for number, seen in enumerate(found):
        painted = {name: component_colours(f) for name, f in seen.inside.shown.items()}
        if not painted:
            continue
        suffix = "" if len(found) == 1 else f"_{'ab'[number]}"
        names = result["clouds"][: len(seen.inside.xyz)]
        clouds = list(zip(names, seen.inside.xyz.numpy(), strict=True))
        stats = seen.inside.statistics
        layers = {
            name: (f"{stats[name]['places']} x {stats[name]['channels']}", colours)
            for name, colours in painted.items()
        }
        path = config.out / f"layers{suffix}.png"
        title = f"{seen.label}: first three principal components at each layer"
        draw("layers", path, layers_sheet, clouds, layers, title)
        pictures[f"layers{suffix}"] = path
        for layer, colours in painted.items():
            for (name, xyz), paint in zip(clouds, colours, strict=True):
                meshes[f"{layer}{suffix}/{name.replace('/', '_')}"] = (xyz, paint)
    if config.compare and all(result["cka"]["layers"]):
        a, b = (seen.label for seen in found)
        rows, columns = result["cka"]["layers"]
        panels = [
            (a, a, rows, rows, result["cka"]["first"]),
            (a, b, rows, columns, result["cka"]["both"]),
            (b, b, columns, columns, result["cka"]["second"]),
        ]
        draw("CKA", config.out / "cka.png", cka_figure, panels)
        pictures["cka"] = config.out / "cka.png"
    pictures = {tag: path for tag, path in pictures.items() if path.exists()}
    if pictures:
        write_board(config.out / "tensorboard", pictures, meshes)
        print(f"to turn them about: tensorboard --logdir {config.out / 'tensorboard'}")
