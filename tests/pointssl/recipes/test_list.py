"""`pointssl list`: every name of every registry, and a line about it."""

import json

import pytest
from in_process import refused, worked

from pointssl.backbones import BACKBONES
from pointssl.config.tools import ListPartsConfig
from pointssl.images import IMAGE_ENCODERS
from pointssl.methods import METHODS
from pointssl.probes import PROBES
from pointssl.recipes import list as recipe
from pointssl_datasets import DATASETS
from pointssl_datasets.base.resolve import resolve

REGISTRIES = {
    "methods": METHODS, "backbones": BACKBONES, "datasets": DATASETS, "probes": PROBES,
    "image-encoders": {**IMAGE_ENCODERS, "timm:NAME": ""},
}  # fmt: skip


@pytest.mark.parametrize("kind", recipe.KINDS)
def test_every_name_has_a_line_of_plain_words(capfd, kind):
    printed = worked(capfd, "list", kind)
    found = json.loads(worked(capfd, "list", kind, "--json"))
    assert list(found) == [kind]
    if kind in REGISTRIES:
        assert list(found[kind]) == list(REGISTRIES[kind])
    for name, line in found[kind].items():
        assert len(line) > 10
        assert line.endswith((".", "?"))
        assert "`" not in line.replace("`pointssl data convert`", "")
        assert f"\n  {name}  " in f"\n{printed}"
        assert line.split()[0] in printed
    assert max(map(len, printed.splitlines())) <= 100


def test_all_kinds_at_once(capfd):
    assert list(json.loads(worked(capfd, "list", "--json"))) == list(recipe.KINDS)


def test_a_line_is_the_beginning_of_the_docstring():
    for name, target in PROBES.items():
        docstring = resolve(name, PROBES, "probe").__doc__
        assert docstring.startswith(recipe.first_words(target))


def test_nothing_need_be_installed_to_be_listed(tmp_path, monkeypatch):
    source = """
import not_installed


class Net(not_installed.Base):
    '''Reach
    far ``x``.

    More.
    '''
"""
    (tmp_path / "far_away.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert recipe.first_words("far_away:Net") == "Reach far x."
    assert recipe.first_words("far_away:Absent") == ""
    assert recipe.first_words("nowhere_at_all:Net") == ""


def test_a_typing_error_names_the_nearest(capfd):
    line = refused(capfd, 2, "list", "backbons")
    assert "choose one of methods, backbones" in line
    assert line.endswith("did you mean 'backbones'?")
    assert recipe.run(ListPartsConfig(kind="probes"))["probes"].keys() == PROBES.keys()
