"""Every option of ``pointssl bench``, as :mod:`pointssl.config.groups` has the others."""
# ruff: noqa: RUF009 - `option` makes a dataclasses.field, which ruff can't see

from dataclasses import dataclass
from pathlib import Path

from pointssl.config.groups import MachineOptions
from pointssl.config.options import option
from pointssl_datasets.base.errors import UsageError
from pointssl_datasets.base.resolve import nearest

SECTIONS = ("kernels", "backbones", "steps", "loading", "svm")  # rows of one table
PROGRAMS = ("costs", "packing", "communication")  # tables of their own, only on request


@dataclass(frozen=True, kw_only=True)
class BenchConfig(MachineOptions):
    """Measure what the fast paths save on this machine, in time and memory."""

    only: str | None = option(
        None,
        f"Sections, with commas between them; default: {','.join(SECTIONS)}; "
        f"on request: {','.join(PROGRAMS)}.",
        "Run",
    )
    quick: bool = option(False, "Small sizes, in under a minute, to see that it runs.", "Run")
    full: bool = option(
        False, "The SVM and, on a CPU, the CrossPoint step at full size; half an hour.", "Run"
    )
    scale: bool = option(
        False, "Instead, measure throughput and memory as points, clouds and processes grow.", "Run"
    )
    cell_memory: float | None = option(
        None,
        "Memory in GiB that each cell of --scale may use; default: half of what is free.",
        "Run",
        low=0.1,
    )
    cell_time: float = option(60.0, "Seconds that each cell of --scale may take.", "Run", low=1)
    out: Path = option(Path("runs/bench"), "Folder of the tables, JSON and figures.", "Run")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.quick and self.full:
            raise UsageError("--quick and --full: choose one of them")
        if self.scale and (self.only is not None or self.full):
            raise UsageError("--scale measures one thing; leave --only and --full out")
        choices = [*SECTIONS, *PROGRAMS]
        for name in self._chosen:
            if name not in choices:
                raise UsageError(
                    f"--only {name!r}: choose from {', '.join(choices)}, with commas between "
                    f"several{nearest(name, choices)}"
                )

    @property
    def _chosen(self) -> tuple[str, ...]:
        if self.only is None:
            return SECTIONS
        return tuple(part.strip() for part in self.only.split(","))

    @property
    def sections(self) -> tuple[str, ...]:
        """The chosen sections of the main table."""
        return tuple(name for name in self._chosen if name not in PROGRAMS)

    @property
    def programs(self) -> tuple[str, ...]:
        """The chosen programs with tables of their own."""
        return tuple(name for name in self._chosen if name in PROGRAMS)

    @property
    def level(self) -> str:
        """Which sizes."""
        return "quick" if self.quick else "full" if self.full else "default"
