"""Names to objects: a plain dict of ``"module:attribute"`` strings, and anything of the user's own.

The registries hold strings, so that listing what exists imports nothing heavy, and so that a
user's own ``my_package.module:MyEncoder`` goes exactly the way the built-in names go.
"""

import difflib
import importlib
from collections.abc import Mapping
from typing import Any

from pointssl_datasets.errors import UsageError


def nearest(name: str, known: list[str]) -> str:
    """``", did you mean 'dgcnn'?"`` for a near miss, else an empty string."""
    close = difflib.get_close_matches(name, known, n=1)
    return f", did you mean {close[0]!r}?" if close else ""


def resolve(name: str, registry: Mapping[str, str], kind: str) -> Any:
    """The object called ``name``: a key of ``registry``, or ``package.module:attribute``.

    Args:
        name: what the user typed.
        registry: name -> ``"module:attribute"``.
        kind: for the error message, e.g. ``"backbone"``.

    Raises:
        UsageError: the name is neither known nor importable.
    """
    target = registry.get(name, name)
    if ":" not in target:
        known = ", ".join(registry)
        raise UsageError(
            f"unknown {kind} {name!r}{nearest(name, list(registry))} "
            f"Known: {known}; or give your own as package.module:Name."
        )
    module_name, _, attribute = target.partition(":")
    try:
        return getattr(importlib.import_module(module_name), attribute)
    except ModuleNotFoundError as error:
        if error.name is None or not module_name.startswith(error.name):
            raise  # the module exists; something that it imports does not
        raise UsageError(
            f"{kind} {name!r}: no module named {error.name!r}. Is its folder on PYTHONPATH?"
        ) from None
    except AttributeError:
        raise UsageError(f"{kind} {name!r}: module {module_name!r} has no {attribute!r}.") from None
