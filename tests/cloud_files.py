"""Small clouds, and files that hold them."""

import numpy as np


def random_cloud(count=50, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (count, 3)).astype(np.float32)


def random_normals(count=50, seed=1):
    normals = np.random.default_rng(seed).normal(size=(count, 3))
    return (normals / np.linalg.norm(normals, axis=1, keepdims=True)).astype(np.float32)


def ply_bytes(columns, order="binary_little_endian", kind="float", extra=""):
    """A PLY file by hand: ``columns (N, 3 or 6)``."""
    names = ["x", "y", "z", "nx", "ny", "nz"][: columns.shape[1]]
    head = f"ply\nformat {order} 1.0\ncomment made by hand\nelement vertex {len(columns)}\n"
    head += "".join(f"property {kind} {name}\n" for name in names) + extra + "end_header\n"
    if order == "ascii":
        body = "".join(" ".join(map(repr, map(float, row))) + "\n" for row in columns).encode()
    else:
        letter = {"float": "f4", "double": "f8"}[kind]
        body = columns.astype((">" if "big" in order else "<") + letter).tobytes()
    return head.encode() + body
