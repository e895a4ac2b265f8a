"""The house rules that a careless commit would break first."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {
    "pointssl_datasets": ROOT / "datasets" / "pointssl_datasets",
    "pointssl": ROOT / "pointssl",
    "pointssl_cli": ROOT / "cli" / "pointssl_cli",
}
# What a package must not import, wherever in a function it hides.
FORBIDDEN = {
    "pointssl_datasets": {"pointssl", "pointssl_cli"},
    "pointssl": {"pointssl_cli"},
    "pointssl_cli": set(),
}
HEAVY = ("torch", "numpy", "scipy", "sklearn", "h5py", "matplotlib", "PIL", "trimesh")


def imported(source: str) -> set[str]:
    """Top-level names of everything that a module imports."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(str(node.module).partition(".")[0])
    return names


def test_the_reader_of_imports_finds_hidden_ones() -> None:
    source = "import a.b\ndef f():\n    from c.d import e\n    if 1:\n        import g as h\n"
    assert imported(source) == {"a", "c", "g"}


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_point_one_way(package: str) -> None:
    files = sorted(PACKAGES[package].rglob("*.py"))
    assert len(files) > 3, f"nothing found in {PACKAGES[package]}"
    for path in files:
        if path == ROOT / "pointssl" / "__main__.py":
            continue  # `python -m pointssl` is the command line
        assert not imported(path.read_text(encoding="utf-8")) & FORBIDDEN[package], path


@pytest.mark.parametrize("source_root", ["cli", "datasets"])
def test_source_roots_are_not_packages(source_root: str) -> None:
    # With an __init__.py here, an installed `datasets` would overwrite Hugging Face's.
    assert not list((ROOT / source_root).glob("*.py"))
    folders = [path.name for path in (ROOT / source_root).iterdir() if path.is_dir()]
    packages = [name for name in folders if not name.startswith((".", "__"))]
    assert packages == [f"pointssl_{source_root}"]


def test_every_folder_of_a_package_is_a_package() -> None:
    for folder in PACKAGES.values():
        for path in folder.rglob("*.py"):
            assert (path.parent / "__init__.py").exists(), f"{path.parent} has no __init__.py"


def test_the_wheel_holds_the_three_packages_and_nothing_else() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    listed = re.search(r"\[tool\.hatch\.build\.targets\.wheel\]\npackages = (\[.*\])", text)
    assert listed is not None
    assert sorted(ast.literal_eval(listed[1])) == sorted(
        str(path.relative_to(ROOT).as_posix()) for path in PACKAGES.values()
    )


@pytest.mark.parametrize("module", ["pointssl", "pointssl.config.groups", "pointssl_cli.main"])
def test_light_modules_import_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print(*[m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_every_direct_dependency_is_pinned() -> None:
    def plain(name: str) -> str:
        return re.split(r"[<>=\[; ]", name)[0].lower().replace("_", "-")

    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    lists = re.findall(
        r"^(?:dependencies|docs|export|dev|requires) = (\[.*?\])\n", text, re.M | re.S
    )
    wanted = {plain(name) for found in lists for name in ast.literal_eval(found)}
    wanted.remove("pointssl")  # the extras of its own
    assert {"torch", "pytest", "hatchling", "onnx", "mkdocs-material"} <= wanted
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {plain(line) for line in pins if "==" in line and not line.startswith("#")}
    assert wanted <= pinned
