"""Profile of a forward pass: the tree of its modules, and the cost of each."""

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from pointssl.features.hooks import hooked
from pointssl.ops.backends import using

Row = dict[str, Any]
Shape = tuple[int, ...]


class Call(NamedTuple):
    """One call of a module: its caller (None for the root), and stamps before and after it."""

    name: str
    caller: str | None
    start: Any
    end: Any


@torch.no_grad()
def profile_modules(
    encoder: nn.Module, xyz: Tensor, feats: Tensor | None = None, *, passes: int = 5
) -> list[Row]:
    """Profile every module that a forward pass calls, in the order of the calls, callers first.

    Args:
        encoder: in evaluation mode, on the device of ``xyz``; its own name is ``""``.
        xyz: ``(B, N, 3)``.
        passes: number of timed passes, of which the median is taken; one more warms up.

    Returns:
        rows with ``name``, ``class``, ``caller``, ``depth``, ``calls``; ``in`` and ``out``, shapes
        of all tensors of the first call; ``parameters``; ``multiply_adds`` of matrix products and
        convolutions; ``seconds``; ``output_bytes``; ``peak_bytes``, the peak memory added during
        the call (None on a CPU). All include the modules that it calls; ``own`` has
        ``parameters``, ``multiply_adds`` and ``seconds`` without them.
    """

    def run() -> Any:
        return encoder(xyz, feats)

    with whole_layers():
        rows = _outline(encoder, run)
        _add(rows, "multiply_adds", _multiply_adds(encoder, run))
        run()
        timed = [_seconds(encoder, run, xyz.device) for _ in range(passes)]
        peaks = _peak_bytes(encoder, run, xyz.device) if xyz.is_cuda else {}
    for name, row in rows.items():
        row["seconds"] = statistics.median(whole[name] for whole, _ in timed)
        row["own"]["seconds"] = statistics.median(own[name] for _, own in timed)
        row["peak_bytes"] = peaks.get(name)
    return list(rows.values())


@contextmanager
def whole_layers() -> Iterator[None]:
    """Make torch's encoder layer call its submodules, which its fast path would bypass."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def tensors_of(value: Any) -> Iterator[Tensor]:
    """Yield all tensors in nested tuples, lists and dicts, in order."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from tensors_of(item)
    elif isinstance(value, dict):
        yield from tensors_of(list(value.values()))


def _outline(encoder: nn.Module, run: Callable[[], Any]) -> dict[str, Row]:
    """Return the rows by name, with everything that needs no measurement."""
    rows: dict[str, Row] = {}
    open_: list[str] = []

    def before(name: str, module: nn.Module, inputs: Any) -> None:
        if name not in rows:
            caller = open_[-1] if open_ else None
            rows[name] = {
                "name": name,
                "class": type(module).__name__,
                "caller": caller,
                "depth": 0 if caller is None else rows[caller]["depth"] + 1,
                "calls": 0,
                "in": [tuple(tensor.shape) for tensor in tensors_of(inputs)],
                "output_bytes": 0,
            }
        open_.append(name)

    def after(name: str, module: nn.Module, inputs: Any, output: Any) -> None:
        open_.pop()
        row, outputs = rows[name], list(tensors_of(output))
        row["calls"] += 1
        row.setdefault("out", [tuple(tensor.shape) for tensor in outputs])
        row["output_bytes"] += sum(tensor.numel() * tensor.element_size() for tensor in outputs)

    with hooked(encoder, after, before):
        run()
    modules = dict(encoder.named_modules())
    # By identity, so that a parameter shared by two modules counts once.
    weights = {name: {id(p): p.numel() for p in modules[name].parameters()} for name in rows}
    for name, row in rows.items():
        elsewhere = {key for other in rows if rows[other]["caller"] == name
                     for key in weights[other]}  # fmt: skip
        row["parameters"] = sum(weights[name].values())
        row["own"] = {
            "parameters": sum(n for key, n in weights[name].items() if key not in elsewhere)
        }
    return rows


def _calls(encoder: nn.Module, run: Callable[[], Any], stamp: Callable[[], Any]) -> list[Call]:
    """Record the calls of a pass, with ``stamp()`` before and after each."""
    calls: list[Call] = []
    open_: list[tuple[str, Any]] = []

    def before(name: str, module: nn.Module, inputs: Any) -> None:
        open_.append((name, stamp()))

    def after(name: str, module: nn.Module, inputs: Any, output: Any) -> None:
        end = stamp()
        _, start = open_.pop()
        calls.append(Call(name, open_[-1][0] if open_ else None, start, end))

    with hooked(encoder, after, before):
        run()
    return calls


Sums = tuple[dict[str, float], dict[str, float]]  # by module: with and without its callees


def _summed(calls: list[Call], between: Callable[[Any, Any], float]) -> Sums:
    whole: dict[str, float] = defaultdict(int)
    own: dict[str, float] = defaultdict(int)
    for name, caller, start, end in calls:
        cost = between(start, end)
        whole[name] += cost
        own[name] += cost
        if caller is not None:
            own[caller] -= cost
    return whole, own


def _add(rows: dict[str, Row], key: str, sums: Sums) -> None:
    whole, own = sums
    for name, row in rows.items():
        row[key], row["own"][key] = whole[name], own[name]


def _multiply_adds(encoder: nn.Module, run: Callable[[], Any]) -> Sums:
    """Return half of the operations that torch counts, as it counts a multiply-add as two."""
    # The only attention kernel missing from torch's own table.
    kernel = getattr(torch.ops.aten, "_scaled_dot_product_flash_attention_for_cpu", None)
    counter = FlopCounterMode(
        display=False, custom_mapping={kernel: _attention_operations} if kernel else None
    )
    with using("torch"), counter:  # the counter can't see products in our kernels
        calls = _calls(encoder, run, counter.get_total_flops)
    return _summed(calls, lambda start, end: (end - start) // 2)


def _attention_operations(query: Shape, key: Shape, value: Shape, *_: Any, **__: Any) -> int:
    """Count both products of an attention: ``(B, H, M, D)``, ``(B, H, K, D)``, ``(B, H, K, E)``."""
    batch, heads, queries, channels = query
    return 2 * batch * heads * queries * key[2] * (channels + value[3])


def _seconds(encoder: nn.Module, run: Callable[[], Any], device: torch.device) -> Sums:
    """Measure seconds by the clock, or on a GPU by CUDA events, which need no synchronisation."""
    if device.type != "cuda":
        return _summed(_calls(encoder, run, time.perf_counter), lambda start, end: end - start)

    def stamp() -> Any:
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    calls = _calls(encoder, run, stamp)
    torch.cuda.synchronize(device)
    return _summed(calls, lambda start, end: start.elapsed_time(end) / 1000)


def _peak_bytes(encoder: nn.Module, run: Callable[[], Any], device: torch.device) -> dict[str, int]:
    """Measure the peak GPU memory that each module's call adds."""
    peaks: dict[str, int] = defaultdict(int)
    open_: list[list[int]] = []  # of running modules: memory at the start, peak since then

    def update_peaks() -> None:
        """Read the device's only peak counter for all running modules, and reset it."""
        most = torch.cuda.max_memory_allocated(device)
        for module in open_:
            module[1] = max(module[1], most)
        torch.cuda.reset_peak_memory_stats(device)

    def before(name: str, module: nn.Module, inputs: Any) -> None:
        update_peaks()
        allocated = torch.cuda.memory_allocated(device)
        open_.append([allocated, allocated])

    def after(name: str, module: nn.Module, inputs: Any, output: Any) -> None:
        update_peaks()
        start, most = open_.pop()
        peaks[name] = max(peaks[name], most - start)

    with hooked(encoder, after, before):
        run()
    return peaks
