"""Small clouds, and files that hold them."""

import numpy as np

from pointssl_datasets.base.errors import DataError


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


CUBE = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], dtype=float)
QUADS = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
"""A unit cube whose faces are seen counter-clockwise from outside."""


def off_text(vertices=CUBE, faces=QUADS, head="OFF\n{} {} 0\n", tail=""):
    """An OFF file by hand; ``tail`` stands behind every face."""
    lines = [" ".join(map(repr, map(float, row))) for row in vertices]
    lines += [f"{len(face)} {' '.join(map(str, face))}{tail}" for face in faces]
    return head.format(len(vertices), len(faces)) + "\n".join(lines) + "\n"


def pcd_bytes(columns, data="binary", height=1, drop=0):
    """A PCD file by hand.

    Args:
        columns: name -> array ``(N,)`` or ``(N, COUNT)``, of the type that is to be written.
        data: ``"ascii"``, ``"binary"`` or ``"binary_compressed"``.
        height: of the organised cloud.
        drop: bytes that are missing at the end.
    """
    arrays = {name: np.asarray(values) for name, values in columns.items()}
    count = len(next(iter(arrays.values())))
    letters = {"f": "F", "i": "I", "u": "U"}
    width = [a.shape[1] if a.ndim > 1 else 1 for a in arrays.values()]
    head = "# .PCD v0.7 - Point Cloud Data file format\nVERSION 0.7\n"
    head += f"FIELDS {' '.join(arrays)}\n"
    head += f"SIZE {' '.join(str(a.dtype.itemsize) for a in arrays.values())}\n"
    head += f"TYPE {' '.join(letters[a.dtype.kind] for a in arrays.values())}\n"
    head += f"COUNT {' '.join(map(str, width))}\n"
    head += f"WIDTH {count // height}\nHEIGHT {height}\nVIEWPOINT 0 0 0 1 0 0 0\n"
    head += f"POINTS {count}\nDATA {data}\n"
    if data == "ascii":
        flat = [a.reshape(count, -1) for a in arrays.values()]
        rows = [" ".join(repr(v.item()) for a in flat for v in a[i]) for i in range(count)]
        body = ("\n".join(rows) + "\n").encode()
    elif data == "binary":
        body = b"".join(a[i].tobytes() for i in range(count) for a in arrays.values())
    else:
        raw = b"".join(a.tobytes() for a in arrays.values())
        packed = lzf_compress(raw)
        body = np.array([len(packed), len(raw)], dtype="<u4").tobytes() + packed
    whole = head.encode() + body
    return whole[: len(whole) - drop]


def lzf_compress(data):
    """LZF, greedy and slow: every run and every reference that the format knows comes up."""
    out, literal, seen, at = bytearray(), bytearray(), {}, 0

    def flush():
        for start in range(0, len(literal), 32):
            run = literal[start : start + 32]
            out.append(len(run) - 1)
            out.extend(run)
        literal.clear()

    while at < len(data):
        start = seen.get(data[at : at + 3], -1)
        length = 0
        if start >= 0 and at - start <= 8192:
            while length < 264 and at + length < len(data):
                if data[start + length] != data[at + length]:
                    break
                length += 1
        seen[data[at : at + 3]] = at
        if length < 3:
            literal.append(data[at])
            at += 1
            continue
        flush()
        back = at - start - 1
        if length < 9:
            out.append((length - 2 << 5) + (back >> 8))
        else:
            out.extend([(7 << 5) + (back >> 8), length - 9])
        out.append(back & 255)
        at += length
    flush()
    return bytes(out)


def damaged(good, times, reach=None, cut=True):
    """``good`` with a few other bytes within its first ``reach``, and often cut; seeded."""
    rng = np.random.default_rng(0)
    for _ in range(times):
        broken = bytearray(good)
        for place in rng.integers(0, reach or len(good), rng.integers(1, 6)):
            broken[place] = rng.integers(256)
        yield bytes(broken[: rng.integers(len(good) // 3, len(good) + 1)] if cut else broken)


def said_of(read, path):
    """What is wrong with a file, or nothing; any other exception than DataError passes through."""
    try:
        read(path)
    except DataError as error:
        return str(error)
    return ""
