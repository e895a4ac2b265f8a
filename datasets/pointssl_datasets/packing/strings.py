"""A list of strings in two .npy files: a million names open in no time, and cost no memory."""

from pathlib import Path
from types import TracebackType

import numpy as np

from pointssl_datasets.base.lazy import Lazy
from pointssl_datasets.packing.npy_stream import NpyStream


class StringsStream:
    """``with StringsStream(folder, "names") as out: out.append("chair/0001")``."""

    def __init__(self, folder: Path, name: str) -> None:
        self._text = NpyStream(folder / f"{name}.text.npy", "u1", ())
        self._ends = NpyStream(folder / f"{name}.ends.npy", "<i8", ())

    def append(self, text: str) -> None:
        """Adds one string."""
        self._text.append(np.frombuffer(text.encode("utf-8", "surrogateescape"), np.uint8))
        self._ends.append(np.array([self._text.rows]))

    def __enter__(self) -> "StringsStream":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._text.__exit__(kind, error, at)
        self._ends.__exit__(kind, error, at)


def read_strings(folder: Path, name: str) -> Lazy[str]:
    """What :class:`StringsStream` wrote, memory-mapped.

    Raises:
        OSError, ValueError: the files are missing or damaged.
    """
    text, ends = _mapped(folder / f"{name}.text.npy"), _mapped(folder / f"{name}.ends.npy")

    def item(index: int) -> str:
        start = int(ends[index - 1]) if index else 0
        return text[start : int(ends[index])].tobytes().decode("utf-8", "surrogateescape")

    return Lazy(len(ends), item)


def _mapped(path: Path) -> np.ndarray:
    if path.stat().st_size <= 128:  # only a header: nothing can't be mapped
        return np.load(path, allow_pickle=False)
    return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
