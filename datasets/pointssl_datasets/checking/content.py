"""What two clouds are compared by: their content, whatever the file or the order of the points."""

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pointssl_datasets.base.source import Cloud


def content_of(cloud: Cloud) -> bytes:
    """16 bytes that are equal for clouds of the same points, in any order.

    Of a mesh it is the file that counts: the points that were drawn from it depend on its name.

    Raises:
        OSError: the mesh can't be read.
    """
    if "mesh" in cloud:
        return digest_of(cloud["mesh"])
    keys = np.sort(place_keys(cloud["xyz"]))
    return hashlib.blake2b(keys.tobytes(), digest_size=16).digest()


def place_keys(xyz: NDArray[np.float32]) -> NDArray[np.uint64]:
    """``(N,)``: a hash of each point of ``(N, 3)``. Numbers sort ten times faster than rows."""
    plain = np.asarray(xyz, dtype=np.float32) + np.float32(0)  # + 0: -0.0 is 0.0
    bits = np.ascontiguousarray(plain).view(np.uint32)
    odd = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9], dtype=np.uint64)
    mixed = bits.astype(np.uint64) * odd
    mixed ^= mixed >> np.uint64(29)
    return np.asarray((mixed * odd[::-1]).sum(axis=1, dtype=np.uint64))


def digest_of(path: Path) -> bytes:
    """16 bytes that tell files of different content apart, whatever their size."""
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.digest()
