"""Tiny datasets of whole numbers, the same to the last bit on every machine.

No random generator: its numbers may change from one version of NumPy to the next, and with them
the fingerprints in the files that are kept here. Coordinates are multiples of 1/64, so that sums
and squares are exact, whatever instructions a processor has.
"""

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

CLASSES = ("bed", "chair", "lamp")
POINTS = 64
ROOMS = ("Area_1_office_1", "Area_1_hallway_1", "Area_2_office_1", "Area_5_office_1")
# Class of S3DIS, low and high corner in 1/64 m, colour: a floor, a wall, a table and a chair.
FURNITURE = (
    (1, (0, 0, 0), (64, 80, 0), 60),
    (2, (0, 0, 0), (0, 80, 160), 190),
    (7, (10, 10, 48), (40, 50, 48), 130),
    (8, (42, 12, 24), (60, 30, 28), 90),
)


def numbers(seed: int, *shape: int) -> NDArray[np.int64]:
    """Whole numbers from 0 to 255 that look random: splitmix64 of (seed, place), its top byte."""
    count = np.arange(int(np.prod(shape)), dtype=np.uint64) + (np.uint64(seed) << np.uint64(32))
    mixed = (count + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((mixed ^ (mixed >> np.uint64(31))) >> np.uint64(56)).astype(np.int64).reshape(shape)


def cloud(seed: int, kind: int, points: int = POINTS) -> NDArray[np.float32]:
    """``(points, 3)``: a box, three times as long in the direction of its class."""
    xyz = numbers(seed, points, 3) - 128
    xyz[:, kind] *= 3
    return (xyz / 64).astype(np.float32)


def write_clouds(root: Path, *, train: int = 8, test: int = 4, pictures: bool = True) -> Path:
    """A `folder` dataset: clouds with two parts a class, and a picture of 16 px of each."""
    seed = 0
    for split, count in (("train", train), ("test", test)):
        for kind, name in enumerate(CLASSES):
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                seed += 1
                xyz = cloud(seed, kind)
                normals = np.zeros_like(xyz)
                normals[np.arange(POINTS), numbers(seed + 2000, POINTS) % 3] = 1
                part = 2 * kind + (xyz[:, kind] > 0)
                np.savez(folder / f"m{number}.npz", xyz=xyz, normals=normals, part=part)
                if pictures:
                    pixels = numbers(seed + 1000, 16, 16, 3).astype(np.uint8)
                    Image.fromarray(pixels).save(folder / f"m{number}.png")
    return root


def write_rooms(root: Path) -> Path:
    """Rooms of S3DIS, ``(N, 7)``: x y z, r g b, class; z-up."""
    root.mkdir(parents=True)
    for seed, name in enumerate(ROOMS):
        parts = []
        for place, (kind, low, high, colour) in enumerate(FURNITURE):
            wide = np.array(high) - np.array(low)
            xyz = (np.array(low) + numbers(100 * seed + place, 120, 3) * wide // 255) / 64
            rgb = colour + numbers(100 * seed + place + 50, 120, 3) // 8
            parts.append(np.hstack([xyz, rgb, np.full((120, 1), kind)]))
        np.save(root / f"{name}.npy", np.vstack(parts))
    return root


def write_scans(root: Path) -> Path:
    """A user's own clouds, for `predict`."""
    for kind, name in enumerate(CLASSES):
        (root / name).mkdir(parents=True)
        np.save(root / name / "scan.npy", cloud(900 + kind, kind, 80))
    return root


# Checkpoints that would be too large to keep


def described(content: Any) -> Any:
    """A checkpoint with the type and shape of every tensor in its place, fit for JSON."""
    if isinstance(content, Tensor):
        return {"tensor": [str(content.dtype).removeprefix("torch."), *content.shape]}
    if isinstance(content, dict):
        return {key: described(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [described(value) for value in content]
    return content


def filled(content: Any, name: str = "") -> Any:
    """The checkpoint that is :func:`described`, with small numbers in its tensors: the same for
    tensors whose names end alike, so for those of an encoder and of the method around it."""
    if isinstance(content, dict) and list(content) == ["tensor"]:
        kind, *shape = content["tensor"]
        if kind == "int64":
            return torch.tensor(3)
        low = 128.0 if name.endswith("running_var") else -128.0
        values = (numbers(zlib.crc32(name.encode()), *shape) + low) / 512
        return torch.from_numpy(values).to(getattr(torch, kind))
    if isinstance(content, dict):
        own = ("encoder", "method", "encoder.")
        return {
            key: filled(value, "" if key in own else f"{name}/{key.removeprefix('encoder.')}")
            for key, value in content.items()
        }
    return content
