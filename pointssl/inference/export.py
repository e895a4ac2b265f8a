"""A network as a graph in one file: ONNX, or a program of ``torch.export``."""

import contextlib
import io
import json
import logging
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pointssl.inference.network import Network
from pointssl.version import __version__
from pointssl_datasets.base.errors import UserError

KEY = "pointssl"  # of the metadata in ONNX; the name of the extra file in a torch program
TRACED = 2  # clouds that a graph for any number of them is drawn with


class Graph(nn.Module):
    """A network as a function of the inputs that it has a use for, in the order of their names."""

    def __init__(self, network: Network, names: tuple[str, ...]) -> None:
        super().__init__()
        self.module = network.module  # so that its weights are found
        self._network, self._names = network, names

    def forward(self, *values: Tensor) -> tuple[Tensor, ...]:
        return tuple(self._network.outputs(**dict(zip(self._names, values, strict=True))).values())


def metadata(network: Network) -> dict[str, Any]:
    """What somebody who has the file alone must know: names, and how a cloud is made ready."""
    outputs = ["cloud", "points"] if network.task == "encoder" else ["logits"]
    return {
        "pointssl": __version__,
        "task": network.task,
        "backbone": network.metadata["backbone"],
        "backbone_args": network.metadata["backbone_args"],
        "outputs": outputs,
        "classes": list(network.classes),
        "parts": list(network.parts),
        "parts_of": [list(numbers) for numbers in network.parts_of],
        "preprocessing": {
            "points": network.points,
            "normalise": network.metadata["normalise"],
            "up_axis": network.metadata.get("up_axis", "y"),
            "channels": ["x", "y", "z", *network.channels],
            **({"block_size": network.metadata["block_size"]} if network.task == "semseg" else {}),
        },
        "trained_on": network.metadata.get("trained_on"),
    }


def write_onnx(
    network: Network, inputs: dict[str, Tensor], path: Path, *, dynamic_batch: bool
) -> None:
    """Writes ONNX, with :func:`metadata` as JSON under ``pointssl`` in its ``metadata_props``.

    Args:
        inputs: an example, see :func:`pointssl.inference.network.random_inputs`.
        dynamic_batch: for any number of clouds; else for as many as the example has.

    Raises:
        UserError: packages are missing, or the graph can't be drawn.
    """
    require("onnx", "onnxscript", "onnxruntime")
    facts = metadata(network)
    with _drawing("ONNX"):
        program = torch.onnx.export(
            Graph(network, tuple(inputs)).eval(),
            tuple(inputs.values()),
            dynamo=True,
            input_names=list(inputs),
            output_names=facts["outputs"],
            dynamic_shapes=_shapes(inputs, dynamic_batch),
            verbose=False,
        )
    assert program is not None
    program.model.metadata_props[KEY] = json.dumps(facts)
    program.model.producer_name = "pointssl"
    program.save(str(path), external_data=False)


def write_torch(
    network: Network, inputs: dict[str, Tensor], path: Path, *, dynamic_batch: bool
) -> None:
    """Writes a program of ``torch.export``; :func:`metadata` is JSON in its extra file
    ``pointssl``. Arguments and errors as :func:`write_onnx`."""
    with _drawing("torch.export"):
        program = torch.export.export(
            Graph(network, tuple(inputs)).eval(),
            tuple(inputs.values()),
            dynamic_shapes=_shapes(inputs, dynamic_batch),
        )
    with open(path, "wb") as file:
        torch.export.save(program, file, extra_files={KEY: json.dumps(metadata(network))})


def require(*names: str) -> None:
    """Raises UserError where a package of the extra is not installed."""
    import importlib.util

    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            f"ONNX needs {', '.join(missing)}, not installed here: pip install 'pointssl[export]', "
            "or write a torch program (--format torch)"
        )


def _shapes(inputs: dict[str, Tensor], dynamic_batch: bool) -> Any:
    """For ``*values``: the first axis of each input is the same free number."""
    if not dynamic_batch:
        return None
    batch = torch.export.Dim("batch", min=1)
    return (tuple({0: batch} for _ in inputs),)


@contextlib.contextmanager
def _drawing(kind: str) -> Iterator[None]:
    """Without gradients and remarks; what fails is said in one line.

    Raises:
        UserError: names the operation that can't be drawn.
    """
    off = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with torch.no_grad(), warnings.catch_warnings(), contextlib.ExitStack() as stack:
            warnings.simplefilter("ignore")
            for redirect in (contextlib.redirect_stdout, contextlib.redirect_stderr):
                stack.enter_context(redirect(io.StringIO()))  # tracers print whole graphs
            yield
    except UserError:
        raise
    except Exception as error:  # whatever a network leads the tracer to
        raise UserError(
            f"the network can't be drawn as a graph for {kind}: {_reason(error)}"
        ) from None
    finally:
        logging.disable(off)


def _reason(error: BaseException) -> str:
    """The operation and why, out of a tracer's pages of text."""
    chain = [error]
    while (chain[-1].__cause__ or chain[-1].__context__) is not None and len(chain) < 20:
        chain.append(chain[-1].__cause__ or chain[-1].__context__)  # type: ignore[arg-type]
    text = "\n".join(str(one) for one in reversed(chain))
    why = next((line.strip() for line in text.splitlines() if line.strip()), type(error).__name__)
    operation = re.search(r"\b(?:aten|prims|torchvision)[.:]+\w+", text)
    line = re.findall(r'File "(.+?)", line (\d+), in .+\n\s*(.+)', text)
    named = f"operation {operation[0].replace('::', '.')}: " if operation else ""
    if line and not operation:
        file, number, code = line[-1]
        named = f"`{code.strip()}` in {file}, line {number}: "
    return named + why[:200]
