"""Which room of the house may know which: arrows point down, and no two rooms or modules go round
in a circle. Imports inside functions count, and so do registries that name ``package.module:Name``.

A new arrow is a decision: better move the function to where it belongs than add one here.
"""

import ast
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = {
    "pointssl": ROOT / "pointssl",
    "pointssl_cli": ROOT / "cli" / "pointssl_cli",
    "pointssl_datasets": ROOT / "datasets" / "pointssl_datasets",
}

# Room -> the rooms that it may import, from the bottom to the top; every room of pointssl may know
# datasets.base, and recipes all of the datasets. The rooms of pointssl_datasets are called
# datasets.ROOM. In capitals are files that lie in no folder: the catalogue of the datasets, and
# the FACADE of a package, which is what `import` of it offers.
DATASETS = {
    "base": "",
    "files": "base",
    "points": "base",
    "procedural": "base",
    "viewer": "base",
    "rendering": "base files",
    "packing": "base files rendering",
    "scenes": "base packing",
    "layout": "base files",
    "sets": "base files layout packing procedural",
    "CATALOGUE": "base sets",
    "serving": "base points packing sets CATALOGUE",
    "checking": "base files layout packing",
    "downloading": "base serving CATALOGUE",
    "source": "base",  # the former place of a class
    "FACADE": "sets serving",
}
POINTSSL = {
    "version": "",
    "config": "",
    "augment": "",
    "metrics": "",
    "ops": "",
    "losses": "ops",
    "backbones": "ops config",
    "heads": "backbones ops",
    "methods": "config augment heads losses ops",
    "checkpoints": "version backbones",
    "runs": "config version",
    "engine": "config ops checkpoints runs",
    "features": "config ops backbones checkpoints engine datasets.serving",
    "images": "checkpoints engine features datasets.packing datasets.serving",
    "tasks": "ops backbones heads losses metrics checkpoints engine datasets.points "
    "datasets.scenes datasets.serving",
    "inspection": "ops features",
    "reports": "config metrics inspection datasets.rendering datasets.viewer",
    "probes": "config metrics datasets.serving",
    "inference": "backbones checkpoints metrics tasks version datasets.files datasets.layout "
    "datasets.packing datasets.points datasets.rendering datasets.scenes datasets.sets "
    "datasets.viewer",
    "benchmarks": "config ops augment backbones methods images engine inspection probes reports "
    "datasets.files datasets.packing datasets.points datasets.serving "
    "datasets.sets",
    "recipes": "version config ops augment backbones methods checkpoints runs engine features "
    "images tasks inspection reports probes inference benchmarks metrics",
    "sklearn": "engine inference datasets.files datasets.points",
    "FACADE": "version backbones checkpoints tasks",
    "__main__": "cli",
}
ALLOWED: dict[str, set[str]] = {
    **{f"datasets.{room}": {f"datasets.{r}" for r in below.split()}
       for room, below in DATASETS.items()},
    **{room: {*below.split(), "datasets.base"} for room, below in POINTSSL.items()},
    "cli": {"config", "probes", "recipes", "engine", "version", "datasets.base"},
}  # fmt: skip
ALLOWED["recipes"] |= {f"datasets.{room}" for room in DATASETS}


def module_files() -> dict[str, Path]:
    """Every module of the three packages by its dotted name."""
    found = {}
    for folder in SOURCES.values():
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder.parent).with_suffix("").parts
            found[".".join(part for part in parts if part != "__init__")] = path
    return found


def imports(source: str, known: Iterable[str]) -> set[str]:
    """The ``known`` modules that a module imports anywhere, or names in a string."""
    known = set(known)
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= (inner & known) or {str(node.module)}
            if inner - known:
                names.add(str(node.module))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            module = node.value.partition(":")[0]
            if "." in module:  # "pointssl" alone is a word
                names.add(module)
    return names & known


def room_of(module: str) -> str:
    package, _, rest = module.partition(".")
    room = rest.partition(".")[0]
    if package == "pointssl_cli":
        return "cli"
    if package == "pointssl_datasets":
        return "datasets." + {"": "FACADE", "catalogue": "CATALOGUE"}.get(room, room)
    return room or "FACADE"


def circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """The groups of nodes of which each leads to each (Tarjan 1972), of two nodes or more."""
    number: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found = []

    def visit(node: str) -> None:
        number[node] = low[node] = len(number)
        stack.append(node)
        for other in sorted(graph.get(node, ())):
            if other not in number:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], number[other])
        if low[node] == number[node]:
            group = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(group) > 1:
                found.append(sorted(group))

    for node in graph:
        if node not in number:
            visit(node)
    return found


@pytest.fixture(scope="module")
def graph() -> dict[str, set[str]]:
    files = module_files()
    assert len(files) > 300
    return {
        name: imports(path.read_text(encoding="utf-8"), files) - {name}
        for name, path in files.items()
    }


def test_the_reader_of_imports_finds_hidden_ones_and_registries():
    source = (
        "import a.b\nfrom a.c import d, f\nfrom g import h\ndef f():\n    if 1:\n"
        "        import i.j as k\nX = {'x': 'l.m:N', 'y': 'a'}\n"
    )
    known = ("a", "a.b", "a.c", "a.c.d", "g", "i.j", "l.m", "not.there")
    assert imports(source, known) == {"a.b", "a.c", "a.c.d", "g", "i.j", "l.m"}


def test_circles_are_found():
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": set(), "e": {"f"}, "f": {"e"}}
    assert circles(graph) == [["a", "b", "c"], ["e", "f"]]


def test_the_table_itself_has_no_circle():
    assert circles(ALLOWED) == []
    assert {room for below in ALLOWED.values() for room in below} <= set(ALLOWED)


def test_every_import_follows_an_arrow(graph: dict[str, set[str]]):
    wrong = [
        f"{module} imports {other}: {room_of(module)} -> {room_of(other)}"
        for module, others in graph.items()
        for other in sorted(others)
        if room_of(module) != room_of(other)
        and room_of(other) not in ALLOWED.get(room_of(module), set())
    ]
    assert wrong == []


def test_no_module_goes_round_in_a_circle(graph: dict[str, set[str]]):
    assert circles(graph) == []
