"""Names to objects: registries, qualified names, and the errors of both."""

import collections
import sys

import pytest

from pointssl_datasets.base.errors import UsageError
from pointssl_datasets.base.resolve import nearest, resolve

REGISTRY = {"ordered": "collections:OrderedDict", "counter": "collections:Counter"}


def test_a_registered_and_a_qualified_name_give_the_same_object():
    assert resolve("counter", REGISTRY, "thing") is collections.Counter
    assert resolve("collections:Counter", REGISTRY, "thing", base=dict) is collections.Counter


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("countr", "unknown thing 'countr', did you mean 'counter'.* Known: ordered, counter"),
        (":x", "expected package.module:Name"),
        ("collections:", "expected package.module:Name"),
        ("no_such_package.a:B", "no module named 'no_such_package'"),
        ("collections:nosuch", "module 'collections' has no 'nosuch'"),
        ("sys:path", "expected a function or a class"),
        ("broken_syntax:A", "in .*broken_syntax.py, line 1"),
    ],
)
def test_other_names_are_refused_in_one_line(tmp_path, monkeypatch, name, message):
    (tmp_path / "broken_syntax.py").write_text("def (\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UsageError, match=message) as caught:
        resolve(name, REGISTRY, "thing")
    assert "\n" not in str(caught.value)


def test_a_class_of_another_family_is_refused():
    with pytest.raises(UsageError, match="a class derived from builtins's int"):
        resolve("counter", REGISTRY, "thing", base=int)


def test_a_module_whose_own_import_fails_keeps_its_traceback(tmp_path, monkeypatch):
    (tmp_path / "needs_more.py").write_text("import no_such_package\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="no_such_package"):
        resolve("needs_more:A", REGISTRY, "thing")
    sys.modules.pop("needs_more", None)


def test_only_near_misses_are_suggested():
    assert nearest("countr", ["counter"]) == ", did you mean 'counter'?"
    assert nearest("zzz", ["counter"]) == ""
