"""A benchmark case: one task, run by the textbook implementation and by ours."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

SIDES = ("textbook", "ours")

Sizes = Mapping[str, Any]
Run = Callable[[], Any]
Make = Callable[[str, Sizes, torch.device, torch.dtype], Run]


@dataclass(frozen=True)
class Work:
    """The unavoidable work of a case.

    Attributes:
        operations: multiplications and additions.
        bytes: bytes that must be read or written once.
        dtype: dtype of the numbers.
    """

    operations: float
    bytes: float
    dtype: str = "float32"


@dataclass(frozen=True, kw_only=True)
class Case:
    """One row of the table; it can be pickled for another process.

    Attributes:
        make: maps side, sizes, device and dtype to a call that does the task once; both sides get
            the same numbers.
        sizes: sizes that are measured.
        small: sizes for comparing both sides in float64, and for warming up.
        work: maps sizes to the unavoidable work.
        settle: maps the output of a call to the tensors in which both sides must agree.
        goals: target speed-ups at :attr:`sizes` by device type.
        memory_goal: target share of the textbook's memory.
        measures_memory: whether memory is measured.
    """

    section: str
    name: str
    make: Make
    sizes: Sizes
    small: Sizes
    work: Callable[[Sizes], Work]
    settle: Callable[[Any], list[Tensor]]
    goals: Mapping[str, float] = field(default_factory=dict)
    memory_goal: float | None = None
    measures_memory: bool = True


def as_list(output: Any) -> list[Tensor]:
    """Return one or several tensors as a list."""
    return [output] if isinstance(output, Tensor) else list(output)


def random_clouds(clouds: int, points: int, device: torch.device, channels: int = 3) -> Tensor:
    """Draw normal numbers ``(B, N, channels)``, the same on every machine."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(clouds, points, channels, generator=generator).to(device)


def check_equal(case: Case, device: torch.device) -> None:
    """Check that both sides give the same result at the small sizes, in float64.

    Raises:
        AssertionError: they differ, so a comparison of times would be meaningless.
    """
    textbook, ours = (
        case.settle(case.make(side, case.small, device, torch.float64)()) for side in SIDES
    )
    assert len(textbook) == len(ours), f"{case.name}: {len(textbook)} and {len(ours)} tensors"
    floats = [t for t in textbook if t.is_floating_point()]
    scale = max((float(t.abs().max()) for t in floats), default=0.0)
    for expected, got in zip(textbook, ours, strict=True):
        assert expected.shape == got.shape, f"{case.name}: the sides have different shapes"
        if not expected.is_floating_point():
            assert torch.equal(expected, got.to(expected.dtype)), f"{case.name}: the sides differ"
            continue
        tolerance = 1e-7 * max(float(expected.abs().max()), 1e-3 * scale)
        difference = float((got - expected).abs().max())
        assert difference <= tolerance, f"{case.name}: the sides differ by {difference:.1e}"
