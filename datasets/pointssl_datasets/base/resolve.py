"""From names to objects, by registries of ``"module:attribute"`` strings.

Registries contain strings so that listing them imports nothing heavy, and so that a user's
``my_package.module:MyEncoder`` is resolved in exactly the same way as the built-in names.
"""

import difflib
import importlib
from collections.abc import Mapping
from typing import Any

from pointssl_datasets.base.errors import UsageError


def nearest(name: str, known: list[str]) -> str:
    """``", did you mean 'dgcnn'?"`` for a near miss, else an empty string."""
    close = difflib.get_close_matches(name, known, n=1)
    return f", did you mean {close[0]!r}?" if close else ""


def resolve(
    name: str, registry: Mapping[str, str], kind: str, base: type[Any] | None = None
) -> Any:
    """The object called ``name``: a key of ``registry``, or ``package.module:attribute``.

    Args:
        name: what the user typed.
        registry: name -> ``"module:attribute"``.
        kind: for the error message, e.g. ``"backbone"``.
        base: the class that it must be a subclass of; None: any callable.

    Raises:
        UsageError: the name is neither known nor importable, or the object is of another type.
    """
    target = registry.get(name, name)
    if ":" not in target:
        known = ", ".join(registry)
        raise UsageError(
            f"unknown {kind} {name!r}{nearest(name, list(registry)) or '.'} "
            f"Known: {known}; or give your own as package.module:Name."
        )
    module_name, _, attribute = target.partition(":")
    if not module_name.strip(".") or not attribute:
        raise UsageError(f"{kind} {name!r}: expected package.module:Name.")
    try:
        obj = getattr(importlib.import_module(module_name), attribute)
    except ModuleNotFoundError as error:
        if error.name is None or not module_name.startswith(error.name):
            raise  # the module exists, but something that it imports does not
        raise UsageError(
            f"{kind} {name!r}: no module named {error.name!r}. Is its folder on PYTHONPATH?"
        ) from None
    except SyntaxError as error:
        raise UsageError(
            f"{kind} {name!r}: {error.msg} in {error.filename}, line {error.lineno}."
        ) from None
    except AttributeError:
        raise UsageError(f"{kind} {name!r}: module {module_name!r} has no {attribute!r}.") from None
    if base is not None and not (isinstance(obj, type) and issubclass(obj, base)):
        expected = f"{base.__module__.partition('.')[0]}'s {base.__name__}"
        raise UsageError(f"{kind} {name!r}: expected a class derived from {expected}.")
    if not callable(obj):
        raise UsageError(f"{kind} {name!r}: expected a function or a class.")
    return obj
