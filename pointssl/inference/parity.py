"""Does an exported file compute what the network computes?

In single precision two right programs differ: they add in another order, and where two points are
nearly equally far away, one takes this neighbour and one that. How much of this there is, the
network itself tells: it is run in double precision, which is taken for the truth, and in single
precision, whose distance from the truth is the rounding that any program has. A file passes if it
is no farther from the truth than that, up to a factor; a wrong graph is farther by orders of
magnitude.
"""

import copy
import importlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pointssl.inference.export import KEY
from pointssl.inference.network import Network, random_inputs
from pointssl_datasets.base.errors import UserError

RTOL = 1e-3  # a row within this of the truth agrees, relative to the largest value of its cloud
FACTOR, FLOOR = 10.0, 1e-6  # the median row: at most so many times the network's own rounding
SHARE = 0.02  # of rows that may fall out of RTOL beyond the network's own; and one row more

Run = Callable[[dict[str, Tensor]], list[NDArray[Any]]]


def open_onnx(path: Path) -> tuple[Run, dict[str, Any]]:
    """An ONNX file in onnxruntime on the CPU: a function of the inputs, and its metadata."""
    onnxruntime: Any = importlib.import_module("onnxruntime")  # of the extra, without types
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def run(inputs: dict[str, Tensor]) -> list[NDArray[Any]]:
        return session.run(None, {name: value.numpy() for name, value in inputs.items()})

    return run, json.loads(session.get_modelmeta().custom_metadata_map[KEY])


def open_torch(path: Path) -> tuple[Run, dict[str, Any]]:
    """The same of a program of ``torch.export``."""
    extra = {KEY: ""}
    with open(path, "rb") as file:
        module = torch.export.load(file, extra_files=extra).module()

    def run(inputs: dict[str, Tensor]) -> list[NDArray[Any]]:
        with torch.no_grad():
            return [value.numpy() for value in module(*inputs.values())]

    return run, json.loads(extra[KEY])


@torch.no_grad()
def compare(network: Network, run: Run, sizes: list[int], seed: int) -> list[dict[str, Any]]:
    """A row per output: how far the file and the network in single precision are from the truth.

    Args:
        run: the exported file.
        sizes: numbers of clouds; each gets random clouds of its own.
        seed: of the clouds.

    Returns:
        ``output``, ``rows`` (clouds, or points of all clouds), and for ``file`` and ``network``
        the ``median`` and ``largest`` relative error of a row and the ``share`` within RTOL.

    Raises:
        UserError: the file fails, or disagrees.
    """
    generator = torch.Generator().manual_seed(seed)
    exact = replace(network, module=copy.deepcopy(network.module).double())
    errors: dict[str, list[tuple[NDArray[Any], NDArray[Any]]]] = {}
    for size in sizes:
        inputs = random_inputs(network, size, generator)
        wide = {k: v.double() if v.is_floating_point() else v for k, v in inputs.items()}
        truth, own = exact.outputs(**wide), network.outputs(**inputs)
        try:
            found = run(inputs)
        except Exception as error:  # of a runtime: any
            raise UserError(
                f"the exported file can't be run on {size} clouds: {str(error).splitlines()[0]}"
            ) from None
        for (name, right), mine, theirs in zip(truth.items(), own.values(), found, strict=True):
            if theirs.shape != right.shape:
                raise UserError(
                    f"the exported file gives {name} of shape {theirs.shape} for {size} clouds, "
                    f"the network {tuple(right.shape)}"
                )
            pair = (_row_errors(theirs, right.numpy()), _row_errors(mine.numpy(), right.numpy()))
            errors.setdefault(name, []).append(pair)
    rows = []
    for name, pairs in errors.items():
        by_file, by_network = (np.concatenate(part) for part in zip(*pairs, strict=True))
        row: dict[str, Any] = {
            "output": name,
            "rows": len(by_network),
            "file": _summary(by_file),
            "network": _summary(by_network),
        }
        rows.append(row)
        if not agrees(row):
            raise UserError(
                f"the exported file disagrees with the network: {name} is off by "
                f"{row['file']['median']:.2g} of the largest value in the median row, where "
                f"rounding explains {row['network']['median']:.2g}, and {row['file']['share']:.1%} "
                f"of the rows are within {RTOL:g}. Nothing was written"
            )
    return rows


def agrees(row: dict[str, Any]) -> bool:
    """Whether a row of :func:`compare` passes."""
    theirs, mine = row["file"], row["network"]
    near = theirs["median"] <= FACTOR * mine["median"] + FLOOR
    return bool(near and theirs["share"] >= mine["share"] - SHARE - 1 / row["rows"])


def _row_errors(found: NDArray[Any], right: NDArray[Any]) -> NDArray[np.float64]:
    """The largest error in each row (a cloud's or a point's), relative to the largest value of its
    cloud; infinite where something is not finite."""
    scale = np.abs(right).reshape(len(right), -1).max(axis=1)
    off = np.abs(found.astype(np.float64) - right).max(axis=-1)
    off = off / np.maximum(scale, 1e-30).reshape(-1, *[1] * (off.ndim - 1))
    return np.where(np.isfinite(off), off, np.inf).reshape(-1)


def _summary(errors: NDArray[np.float64]) -> dict[str, float]:
    return {
        "median": float(np.median(errors)),
        "largest": float(errors.max()),
        "share": float((errors <= RTOL).mean()),
    }
