"""What an option is: a field that is checked, and how configs are read and written.

The configs themselves are in :mod:`pointssl.config.groups`.
"""

import dataclasses
import json
import math
import types
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

from pointssl_datasets.base.errors import UsageError
from pointssl_datasets.base.resolve import nearest

C = TypeVar("C", bound="Options")


def option(
    default: Any,
    help: str,
    group: str,
    *,
    low: float | None = None,
    high: float | None = None,
    flag: str | None = None,
    positional: bool = False,
    words: Mapping[str, int] | None = None,
    key_values: bool = False,
    changes_results: bool = True,
) -> Any:
    """A field with what the command line needs to know; ``low`` and ``high`` are inclusive.

    Args:
        default: ``...`` where there is none and one must be given.
        flag: of the command line; by default the field's name, as ``--field-name``.
        positional: it is given without a flag, as in ``pointssl data download NAME``.
        words: that stand for numbers outside the range, as ``auto``.
        key_values: items are ``KEY=VALUE``; in a YAML file they may stand as a mapping.
        changes_results: whether numbers depend on it; a run may be continued with another value of
            an option on which none do.
    """
    metadata: dict[str, Any] = {"help": help, "group": group, "low": low, "high": high}
    metadata |= {"flag": flag, "positional": positional, "words": words or {}}
    metadata |= {"key_values": key_values, "changes_results": changes_results}
    given = {} if default is ... else {"default": default}
    return dataclasses.field(metadata=metadata, **given)


@dataclass(frozen=True, kw_only=True)
class Options:
    """What every command's options share: values are checked as they are made."""

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self))
        for field in fields(self):
            value = _checked(field, getattr(self, field.name), hints[field.name])
            object.__setattr__(self, field.name, value)


def _optional(hint: Any) -> tuple[Any, bool]:
    """``(T, True)`` for ``T | None``, else ``(hint, False)``."""
    if get_origin(hint) in (Union, types.UnionType):
        inner = [arg for arg in get_args(hint) if arg is not type(None)]
        return inner[0], True
    return hint, False


def _coerce(name: str, value: Any, hint: Any) -> Any:
    """``value`` as the field's type, or an error that says what is allowed."""
    flag = "--" + name.replace("_", "-")
    kind, optional = _optional(hint)
    if value is None and optional:
        return None
    if get_origin(kind) is Literal:
        allowed = get_args(kind)
        if value is False and "off" in allowed:
            value = "off"  # YAML 1.1 reads a bare `off` as false
        if value not in allowed:
            choices = ", ".join(map(str, allowed))
            hint_text = nearest(str(value), [str(a) for a in allowed])
            raise UsageError(f"{flag} {value!r}: choose one of {choices}{hint_text}")
        return value
    if get_origin(kind) is tuple:
        item_kind = get_args(kind)[0]
        if isinstance(value, (list, tuple)) and all(isinstance(v, (str, item_kind)) for v in value):
            return tuple(item_kind(item) for item in value)
        raise UsageError(f"{flag} {value!r}: expected a list of strings")
    if kind is Path and isinstance(value, (str, Path)) and str(value):
        return Path(value)
    if kind is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if kind is float and isinstance(value, str):  # YAML 1.1 reads 1e-3 as a string
        try:
            return float(value)
        except ValueError:
            pass
    if kind in (int, bool, str) and type(value) is kind:
        return value
    raise UsageError(f"{flag} {value!r}: expected {kind.__name__}, got {type(value).__name__}")


def _check_range(name: str, value: Any, low: float | None, high: float | None) -> None:
    if value is None or isinstance(value, bool) or not isinstance(value, (int, float)):
        return
    flag = f"--{name.replace('_', '-')} {value}"
    if isinstance(value, float) and not math.isfinite(value):
        raise UsageError(f"{flag}: must be finite")
    if (low is not None and value < low) or (high is not None and value > high):
        spans = [f"at least {low}" if low is not None else ""]
        spans.append(f"at most {high}" if high is not None else "")
        raise UsageError(f"{flag}: must be {' and '.join(filter(None, spans))}")


def _checked(field: dataclasses.Field[Any], value: Any, hint: Any) -> Any:
    """``value`` for a field: of its type and in its range."""
    words = field.metadata["words"]
    if words and isinstance(value, str):
        value = _number_or_word(field.name, value, words)
    if field.metadata["key_values"] and isinstance(value, Mapping):
        value = tuple(f"{key}={json.dumps(item)}" for key, item in value.items())
    value = _coerce(field.name, value, hint)
    if value not in words.values():
        _check_range(field.name, value, field.metadata["low"], field.metadata["high"])
    return value


def _number_or_word(name: str, text: str, words: Mapping[str, int]) -> int:
    """What a text such as ``20`` or ``auto`` stands for."""
    if text in words:
        return words[text]
    try:
        return int(text)
    except ValueError:
        flag = "--" + name.replace("_", "-")
        raise UsageError(
            f"{flag} {text!r}: expected a whole number or {' or '.join(words)}"
        ) from None


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; tags that would build objects are refused.

    Raises:
        UsageError: the file is missing, not YAML, or not a mapping.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"--config {path}: {error.strerror}. Give a readable YAML file.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        where = " ".join(str(error).split())
        raise UsageError(f"--config {path}: not plain YAML: {where}") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise UsageError(
            f"--config {path}: expected `option: value` lines, got {type(values).__name__}"
        )
    return {str(key): value for key, value in values.items()}


def make(cls: type[C], given: Mapping[str, Any], file: Path | None = None) -> C:
    """A config from a YAML file's values, overridden by those ``given`` on the command line.

    Raises:
        UsageError: an unknown key (the nearest known one is named), a wrong type or value, nothing
            for an option that has no default.
    """
    known = {field.name: field for field in fields(cls)}
    hints = get_type_hints(cls)
    values: dict[str, Any] = {}
    for key, value in (read_yaml(file) if file else {}).items():
        name = key.replace("-", "_")
        if name not in known:
            hint = nearest(name, list(known)) or "; --help lists them"
            raise UsageError(f"--config {file}: unknown option {key!r}{hint}")
        try:
            values[name] = _checked(known[name], value, hints[name])
        except UsageError as error:
            raise UsageError(f"--config {file}: {error}") from None
    values.update(given)
    for name, field in known.items():
        if field.default is dataclasses.MISSING and name not in values:
            what = name.upper() if field.metadata["positional"] else f"--{name.replace('_', '-')}"
            raise UsageError(f"{what} is missing: {field.metadata['help']}")
    return cls(**values)


def to_dict(config: Options) -> dict[str, Any]:
    """Plain values: what is saved beside the weights and read back by :func:`make`."""
    plain: dict[str, Any] = {}
    for field in fields(config):
        value = getattr(config, field.name)
        if isinstance(value, Path):
            value = str(value)
        elif isinstance(value, tuple):
            value = [str(item) for item in value]
        plain[field.name] = value
    return plain


def to_yaml(config: Options) -> str:
    """``config.yaml`` of a run."""
    return yaml.safe_dump(to_dict(config), sort_keys=False)
