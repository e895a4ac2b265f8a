"""The named tensors in what another program saved, however it wrapped them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from pointssl_datasets.base.errors import UserError

NESTS = ("state_dict", "model_state_dict", "base_model", "model", "net", "network", "encoder")
DEEPEST = 4  # dicts around the tensors
WRAPPERS = ("module", "_orig_mod")  # what DataParallel, DDP and torch.compile put into keys


def unwrapped(content: Any, path: Path) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The named tensors in ``content``, keys without what wrappers put into them, and the names
    under which they lay.

    Raises:
        UserError: there are no named tensors.
    """
    nests: list[str] = []
    while isinstance(content, Mapping):
        tensors = {str(k): v for k, v in content.items() if isinstance(v, Tensor)}
        seen: set[int] = set()
        deepest = DEEPEST - len(nests)
        inner = next((n for n in NESTS if _holds_tensors(content.get(n), deepest, seen)), None)
        if inner and len(tensors) < len(content[inner]):
            nests.append(inner)
            content = content[inner]
            continue
        if tensors:
            return {_without_wrappers(key): value for key, value in tensors.items()}, tuple(nests)
        break
    found = list(content)[:4] if isinstance(content, Mapping) else [type(content).__name__]
    raise UserError(
        f"{path} holds no named tensors: expected a state dict, possibly under one of "
        f"{', '.join(NESTS)}; found {', '.join(map(str, found)) or 'nothing'}"
    )


def _holds_tensors(value: Any, deepest: int, seen: set[int]) -> bool:
    """A state dict, or at most ``deepest - 1`` dicts around one; none that was looked at before: a
    file can hold one dict in many places, and within itself."""
    if not isinstance(value, Mapping) or deepest < 1 or id(value) in seen:
        return False
    seen.add(id(value))
    return any(isinstance(v, Tensor) for v in value.values()) or any(
        _holds_tensors(value.get(name), deepest - 1, seen) for name in NESTS
    )


def _without_wrappers(key: str) -> str:
    return ".".join(part for part in key.split(".") if part not in WRAPPERS)
