"""Digests of the content of clouds, independent of the file and of the order of the points."""

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pointssl_datasets.base.source import Cloud


def content_digest(cloud: Cloud) -> bytes:
    """16 bytes that are equal for clouds with the same points, in any order.

    The digest of a mesh is that of its file, since the points sampled from it depend on its name.

    Raises:
        OSError: the mesh can't be read.
    """
    if "mesh" in cloud:
        return file_digest(cloud["mesh"])
    hashes = np.sort(point_hashes(cloud["xyz"]))
    return hashlib.blake2b(hashes.tobytes(), digest_size=16).digest()


def point_hashes(xyz: NDArray[np.float32]) -> NDArray[np.uint64]:
    """``(N,)``: a hash of each point of ``(N, 3)``. Numbers sort ten times faster than rows."""
    normal = np.asarray(xyz, dtype=np.float32) + np.float32(0)  # + 0 turns -0.0 into 0.0
    bits = np.ascontiguousarray(normal).view(np.uint32)
    odd = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9], dtype=np.uint64)
    mixed = bits.astype(np.uint64) * odd
    mixed ^= mixed >> np.uint64(29)
    return np.asarray((mixed * odd[::-1]).sum(axis=1, dtype=np.uint64))


def file_digest(path: Path) -> bytes:
    """16 bytes that differ for files of different content."""
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.digest()
