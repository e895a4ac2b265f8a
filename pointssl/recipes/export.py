"""`pointssl export`: a network as one file that runs without pointssl, tried before it is kept."""

from typing import Any

import torch

from pointssl.config.tools import ExportConfig
from pointssl.inference.export import TRACED, write_onnx, write_torch
from pointssl.inference.network import load_network, random_inputs
from pointssl.inference.parity import RTOL, compare, open_onnx, open_torch
from pointssl.reports.tables import text_table
from pointssl_datasets.base.errors import UsageError
from pointssl_datasets.base.writing import whole_file

SUFFIXES = {".onnx": "onnx", ".pt2": "torch"}
SIZES = [TRACED, 1, 5]  # clouds at a time, on which a file for any number of them is tried


def run(config: ExportConfig) -> list[dict[str, Any]]:
    """Write ``config.out``; returns how far it is from the network, see
    :func:`pointssl.inference.parity.compare`.

    Raises:
        UserError: the network can't be exported, or the file computes something else: then it is
            not kept.
    """
    kind = config.format or SUFFIXES.get(config.out.suffix.lower())
    if kind is None:
        raise UsageError(
            f"--out {config.out}: expected a name that ends in .onnx or .pt2; or say --format"
        )
    if config.out.is_dir():
        raise UsageError(
            f"--out {config.out} is a folder: name a file, e.g. {config.out}/model.onnx"
        )
    network = load_network(config.weights, named=config.backbone)
    example = random_inputs(
        network,
        TRACED if config.dynamic_batch else config.batch_size,
        torch.Generator().manual_seed(config.seed),
    )
    write, open_file = (write_onnx, open_onnx) if kind == "onnx" else (write_torch, open_torch)
    with whole_file(config.out) as part:
        write(network, example, part, dynamic_batch=config.dynamic_batch)
        run_file, facts = open_file(part)
        sizes = SIZES if config.dynamic_batch else [config.batch_size]
        rows = compare(network, run_file, sizes, config.seed)
    batch = "any number of" if config.dynamic_batch else str(config.batch_size)
    print(f"{network.task} by {facts['backbone']}, {batch} clouds of {network.points} points")
    for name, value in example.items():
        shape = ["batch" if config.dynamic_batch else str(len(value)), *map(str, value.shape[1:])]
        print(f"  in   {name} ({', '.join(shape)}) {str(value.dtype).removeprefix('torch.')}")
    print(f"  out  {', '.join(facts['outputs'])}")
    print(
        f"compared with the network in double precision, on random clouds "
        f"({', '.join(map(str, sizes))} at a time), error relative to the largest value of a cloud:"
    )
    for line in text_table(
        ("output", "by", "rows", "median error", "largest", f"within {RTOL:g}"),
        [
            (row["output"], by, str(row["rows"]), f"{row[by]['median']:.1e}",
             f"{row[by]['largest']:.1e}", f"{row[by]['share']:.2%}")
            for row in rows
            for by in ("file", "network")
        ],
        left=(0, 1),
    ):  # fmt: skip
        print(f"  {line}")
    print(f"written: {config.out} ({config.out.stat().st_size / 1e6:.1f} MB)", flush=True)
    return rows
