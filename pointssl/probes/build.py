"""A probe by its name, and the options of the command that runs it."""

from dataclasses import fields, make_dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pointssl.config.evaluate import EvalOptions, LabelOptions
from pointssl.config.options import option
from pointssl.probes import PROBES
from pointssl.probes.base import Probe
from pointssl_datasets.base.resolve import resolve


def find_probe(name: str) -> type[Probe]:
    """The probe called ``name`` in :data:`pointssl.probes.PROBES`, or ``package.module:Class``.

    Raises:
        UsageError: there is none; the nearest is named.
    """
    found: type[Probe] = resolve(name, PROBES, "probe", Probe)
    return found


@cache
def eval_config(name: str) -> type[Any]:
    """The options of ``pointssl eval-NAME``: those of every evaluation, and those of the probe.

    Raises:
        UsageError: there is no such probe.
        TypeError: an option of the probe has the name of one that every evaluation has.
    """
    probe = find_probe(name)
    shared = LabelOptions if probe.learns else EvalOptions
    taken = {field.name for field in fields(shared)} & {field.name for field in fields(probe)}
    if taken:
        raise TypeError(f"{probe.__name__}: every evaluation has an option {min(taken)} already")
    out = option(Path(f"runs/eval-{name}"), f"Folder of {probe.writes}.", "Run")
    about = {
        "__doc__": probe.__doc__,
        "__module__": __name__,
        "probe_class": probe,
    }
    return make_dataclass(
        f"Eval{name.capitalize()}Config",
        [("out", Path, out)],
        bases=(probe, shared),
        namespace=about,
        frozen=True,
        kw_only=True,
    )


def probe_of(config: EvalOptions) -> Any:
    """The probe with its options alone, of an :func:`eval_config`."""
    probe = type(config).probe_class  # type: ignore[attr-defined]
    return probe(**{field.name: getattr(config, field.name) for field in fields(probe)})
