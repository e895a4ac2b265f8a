"""Every option of ``pointssl inspect``, as :mod:`pointssl.config.groups` has the others."""
# ruff: noqa: RUF009 - `option` makes a dataclasses.field, which ruff can't see

from dataclasses import dataclass
from pathlib import Path

from pointssl.config.groups import FeatureOptions
from pointssl.config.options import option
from pointssl_datasets.base.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class InspectConfig(FeatureOptions):
    """Show an encoder at work: what its modules cost, and its layers in numbers and colours."""

    networks: tuple[str, ...] = option(
        (),
        "A checkpoint, or a backbone at random initialisation. With --compare two; the second may "
        "be `random`: the first one at random initialisation.",
        "Encoder",
        positional=True,
    )
    compare: bool = option(
        False, "Two networks side by side on the same clouds, with the CKA of their layers.", "Run"
    )
    depth: int = option(1, "Print modules down to this depth below the encoder.", "Run", low=0)
    clouds: int = option(
        8, "How many clouds to pass through, from as many classes as possible.", "Data", low=1
    )
    split: str = option("train", "Split to take them from.", "Data")
    seed: int = option(0, "Seed of the choice of clouds and points.", "Data", low=0)
    passes: int = option(5, "Forward passes; the time is their median.", "Run", low=1)
    out: Path = option(Path("runs/inspect"), "Folder of inspect.json and the figures.", "Run")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.networks and self.weights is not None:
            raise UsageError(
                f"--weights {self.weights}: give the checkpoint once, without --weights"
            )
        if self.compare and len(self.networks) != 2:
            raise UsageError(
                f"--compare needs two networks, got {len(self.networks)}: "
                "pointssl inspect --compare runs/a/checkpoints/last.pt random"
            )
        if not self.compare and len(self.networks) > 1:
            raise UsageError(f"{len(self.networks)} networks: add --compare, which takes two")
        if not self.networks and self.weights is None and self.backbone is None:
            raise UsageError("nothing to inspect: give a checkpoint, or --backbone NAME")
