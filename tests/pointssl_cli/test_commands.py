"""The table of commands: every entry can run, and has help."""

import importlib
import inspect

import pytest

from pointssl.probes import PROBES
from pointssl_cli.commands import GROUPS, commands

TABLE = commands()


def test_no_command_of_the_manual_is_missing():
    names = [
        "pretrain",
        "extract",
        "eval-all",
        "inspect",
        "predict",
        "export",
        "import",
        "zoo",
        "demo",
        "bench",
        "doctor",
    ]
    names += [f"eval-{probe}" for probe in PROBES]
    names += [f"finetune {task}" for task in ("partseg", "cls", "semseg")]
    names += [f"data {what}" for what in ("list", "download", "check", "convert", "render", "show")]
    assert set(names) <= set(TABLE)
    assert {name.split()[0] for name in TABLE if " " in name} == set(GROUPS)


@pytest.mark.parametrize("name", TABLE)
def test_its_recipe_is_there_and_takes_its_config(name):
    module, _, function = TABLE[name].recipe.partition(":")
    recipe = getattr(importlib.import_module(module), function)
    first, *others = inspect.signature(recipe).parameters.values()
    assert first.name == "config"
    assert all(parameter.default is not parameter.empty for parameter in others)


@pytest.mark.parametrize("name", TABLE)
def test_its_help_is_a_sentence_of_its_own(name):
    config = TABLE[name].config
    first = config.__doc__.splitlines()[0]
    assert first[0].isupper()
    assert first.endswith(".")
    assert first not in [
        other.config.__doc__.splitlines()[0] for key, other in TABLE.items() if key != name
    ]
