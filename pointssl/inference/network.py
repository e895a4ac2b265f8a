"""Whatever a checkpoint holds, ready to be given clouds."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from pointssl.backbones.build import build_encoder
from pointssl.checkpoints.encoder import build_fitting
from pointssl.checkpoints.metadata import Metadata, encoder_metadata
from pointssl.checkpoints.task_metadata import CHANNELS, channels_of
from pointssl.checkpoints.zoo.opening import describe_import, open_checkpoint
from pointssl.tasks.loading import task_of


@dataclass(frozen=True)
class Network:
    """A network in evaluation mode, and what must be known to use it.

    Attributes:
        module: an encoder, or a task with its head.
        metadata: of its checkpoint.
        task: ``"cls"``, ``"partseg"``, ``"semseg"``, or ``"encoder"`` where there is no head.
        channels: what a point has beside its coordinates: ``"normals"``, ``"colours"``,
            ``"place"``.
        classes, parts: names of what is predicted; ``classes`` are also the categories of parts.
        parts_of: for each category the numbers of its parts; empty where it is not known.
        takes_category: whether the head is told the category.
    """

    module: nn.Module
    metadata: Metadata
    task: str
    channels: tuple[str, ...]
    classes: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    parts_of: tuple[tuple[int, ...], ...] = ()
    takes_category: bool = False

    @property
    def points(self) -> int:
        return int(self.metadata["points"])

    @property
    def labels_points(self) -> bool:
        return self.task in ("partseg", "semseg")

    @property
    def feats_width(self) -> int:
        """Channels of ``feats``; 0: there are none."""
        return sum(CHANNELS[name] for name in self.channels)

    def outputs(
        self, xyz: Tensor, feats: Tensor | None = None, category: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Of clouds ``(B, N, 3)``: ``logits`` ``(B, classes)`` or ``(B, N, parts)``; of an encoder
        ``cloud (B, D)`` and ``points (B, N, C)``."""
        if self.task == "encoder":
            return self.module(xyz, feats)._asdict()
        return {"logits": self.module.logits(xyz, feats, category)}  # type: ignore[operator]


def load_network(path: Path, *, named: str | None = None) -> Network:
    """The network of a checkpoint of ``pointssl pretrain`` or ``pointssl finetune``.

    Args:
        named: the backbone that the user typed, see
            :func:`pointssl.checkpoints.metadata.encoder_metadata`.

    Raises:
        UserError: not a checkpoint of ours, damaged, or weights that do not fit.
    """
    checkpoint = open_checkpoint(path)
    if isinstance(checkpoint["facts"], dict) and "task" in checkpoint["facts"]:
        module, metadata = task_of(checkpoint, path, named=named)
        return Network(
            module,
            metadata,
            metadata["task"],
            channels_of(metadata),
            tuple(metadata["classes"]),
            tuple(metadata["parts"]),
            tuple(tuple(numbers) for numbers in metadata.get("parts_of") or ()),
            metadata.get("category") == "given",
        )
    metadata = encoder_metadata(checkpoint, path, "points", "normals", "normalise", named=named)
    for line in describe_import(metadata):
        print(line)
    make = partial(build_encoder, metadata["backbone"], **metadata["backbone_args"])
    encoder = build_fitting(make, metadata["backbone"], checkpoint["encoder"], path)
    channels = ("normals",) if metadata["normals"] else ()
    return Network(encoder, metadata, "encoder", channels)


def random_inputs(network: Network, count: int, generator: torch.Generator) -> dict[str, Tensor]:
    """``count`` clouds of random points in the unit ball as the network takes them, by name."""
    points = torch.randn(count, network.points, 3, generator=generator)
    inputs = {"xyz": points / points.norm(dim=-1).amax(1)[:, None, None]}
    if network.feats_width:
        width = network.feats_width
        inputs["feats"] = torch.rand(count, network.points, width, generator=generator) * 2 - 1
    if network.takes_category:
        kinds = len(network.classes)
        inputs["category"] = torch.randint(0, kinds, (count,), generator=generator)
    return inputs
