"""Checks of the options that all generated datasets share."""

from collections.abc import Mapping

from pointssl_datasets.base.errors import UsageError


def number_of_shapes(
    name: str, splits: Mapping[str, int], split: str, size: int | None, seed: int, up_axis: str
) -> int:
    """How many shapes to generate: ``size``, or the default that ``splits`` has for the split.

    Raises:
        UsageError: unknown split, size below 1, negative seed, or an up axis other than y.
    """
    if split not in splits:
        raise UsageError(f"{name}: unknown split {split!r}. Use one of: {', '.join(splits)}.")
    if size is not None and size < 1:
        raise UsageError(f"{name}: size is {size}, but at least 1 shape is needed.")
    if seed < 0:
        raise UsageError(f"{name}: seed is {seed}. Use 0 or a positive whole number.")
    if up_axis not in ("auto", "y"):
        raise UsageError(f"{name}: up axis {up_axis!r}, but the shapes are y-up. Use auto or y.")
    return splits[split] if size is None else size
