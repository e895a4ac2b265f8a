"""What is measured: one thing, done as public code does it and as we do it."""

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
    """What nobody can spare.

    Attributes:
        operations: multiplications and additions.
        bytes: what must be read and written once.
        dtype: of the numbers.
    """

    operations: float
    bytes: float
    dtype: str = "float32"


@dataclass(frozen=True, kw_only=True)
class Case:
    """A row of the table. Everything in it can be sent to another process.

    Attributes:
        make: side, sizes, device and type to a call that does it once; both sides are made of the
            same numbers.
        sizes: those that are measured.
        small: those at which both sides are compared in float64, and warmed up.
        work: of :attr:`sizes`.
        settle: what a call gives, as the tensors in which both sides must agree.
        goals: wanted ratios of time by device type, at :attr:`sizes`.
        memory_goal: wanted share of the textbook's memory.
        measures_memory: whether memory means anything here.
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


def as_list(found: Any) -> list[Tensor]:
    """A tensor, or several."""
    return [found] if isinstance(found, Tensor) else list(found)


def random_clouds(clouds: int, points: int, device: torch.device, channels: int = 3) -> Tensor:
    """``(B, N, channels)`` normal numbers, the same on every machine."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(clouds, points, channels, generator=generator).to(device)


def check_equal(case: Case, device: torch.device) -> None:
    """Both sides give the same at the small sizes, in float64.

    Raises:
        AssertionError: they differ, and no time is worth printing.
    """
    textbook, ours = (
        case.settle(case.make(side, case.small, device, torch.float64)()) for side in SIDES
    )
    assert len(textbook) == len(ours), f"{case.name}: {len(textbook)} and {len(ours)} tensors"
    floats = [t for t in textbook if t.is_floating_point()]
    scale = max((float(t.abs().max()) for t in floats), default=0.0)
    for expected, found in zip(textbook, ours, strict=True):
        assert expected.shape == found.shape, f"{case.name}: the sides have different shapes"
        if not expected.is_floating_point():
            assert torch.equal(expected, found.to(expected.dtype)), f"{case.name}: the sides differ"
            continue
        allowed = 1e-7 * max(float(expected.abs().max()), 1e-3 * scale)
        apart = float((found - expected).abs().max())
        assert apart <= allowed, f"{case.name}: the sides differ by {apart:.1e}"
