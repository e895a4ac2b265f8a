"""Files as a network takes them: turned, scaled, with its channels, some of their points."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pointssl.inference.network import Network
from pointssl_datasets.base.axes import TO_Y_UP
from pointssl_datasets.base.errors import DataError
from pointssl_datasets.base.source import Cloud
from pointssl_datasets.files.readers import read_cloud
from pointssl_datasets.packing.pack import unit_sphere
from pointssl_datasets.points.choosing import choose_points
from pointssl_datasets.points.normals import estimate_normals


class Ready(NamedTuple):
    """A cloud of N points for a network.

    Attributes:
        cloud: as the file has it.
        xyz: ``(N, 3)`` y-up, scaled as the network wants it.
        feats: ``(N, C)`` or None.
    """

    cloud: Cloud
    xyz: NDArray[np.float32]
    feats: NDArray[np.float32] | None


def read_ready(
    path: Path, network: Network, *, up_axis: str, mesh_points: int, estimate: bool
) -> Ready:
    """Reads a file for ``network``.

    Args:
        up_axis: of the file.
        estimate: make normals where the file has none.

    Raises:
        DataError: see :func:`pointssl_datasets.files.readers.read_cloud`; or the file lacks what
            the network takes.
    """
    cloud = read_cloud(path, mesh_points=mesh_points)
    turn = TO_Y_UP[up_axis]
    if "normals" in network.channels and "normals" not in cloud:
        if not estimate or len(cloud["xyz"]) < 3:
            raise DataError(
                f"{path}: the network takes normals, and the file has none: add them, or give "
                "--estimate-normals"
            )
        cloud["normals"] = estimate_normals(cloud["xyz"])
    if "colours" in network.channels and "colours" not in cloud:
        raise DataError(f"{path}: the network takes colours, and the file has none")
    xyz = scaled(cloud["xyz"], network.metadata["normalise"]) @ turn.T
    columns = {
        "normals": lambda: cloud["normals"] @ turn.T,
        "colours": lambda: cloud["colours"],
    }
    feats = [columns[name]() for name in network.channels if name in columns]
    return Ready(cloud, xyz, np.concatenate(feats, axis=1).astype(np.float32) if feats else None)


def scaled(xyz: NDArray[np.float32], normalise: str) -> NDArray[np.float32]:
    """``(N, 3)`` as ``--normalise`` of a checkpoint has it."""
    return unit_sphere(xyz) if normalise == "unit-sphere" else xyz


def chosen_rows(
    ready: Ready, network: Network, how: str, seed: int, vote: int
) -> NDArray[np.int64]:
    """``(points,)`` rows that the network sees in pass ``vote``.

    They depend on the cloud and the seed alone, not on which other files are predicted with it.
    """
    return choose_points(ready.xyz, network.points, how, seed=seed, epoch=vote, index=0)


def batch_of(
    clouds: list[Ready], rows: list[NDArray[np.int64]], category: list[int] | None, device: Any
) -> dict[str, Tensor]:
    """Inputs of :meth:`pointssl.inference.network.Network.outputs`."""
    batch = {"xyz": np.stack([one.xyz[part] for one, part in zip(clouds, rows, strict=True)])}
    if clouds[0].feats is not None:
        batch["feats"] = np.stack([one.feats[part] for one, part in zip(clouds, rows, strict=True)])  # type: ignore[index]
    tensors = {name: torch.from_numpy(values).to(device) for name, values in batch.items()}
    if category is not None:
        tensors["category"] = torch.tensor(category, device=device)
    return tensors
