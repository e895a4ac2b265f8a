"""Files that other programs read: hooks of pre-commit, the workflow, and links in the README."""

import importlib.util
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_hooks_run_the_projects_own_tools() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    hooks = [hook for repo in config["repos"] for hook in repo["hooks"]]
    assert {repo["repo"] for repo in config["repos"]} == {"local"}, "nothing is fetched"
    assert [hook["id"] for hook in hooks] == ["ruff", "ruff-format", "mypy"]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for hook in hooks:
        python, flag, tool = hook["entry"].split()[:3]
        assert (python, flag, hook["language"]) == (".venv/bin/python", "-m", "system")
        assert importlib.util.find_spec(tool), f"{tool} is not installed"
        assert f"$(PY) -m {tool}" in makefile, f"make test does not run {tool}"


def test_the_workflow_runs_what_ci_runs_on_every_python() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
    job = workflow["jobs"]["test"]
    oldest = re.search(r'requires-python = ">=([\d.]+)"', PROJECT)
    assert oldest is not None
    assert job["strategy"]["matrix"]["python-version"][0] == oldest[1]
    assert any(step.get("run") == "bash .ci/run" for step in job["steps"])
    targets = [s["run"] for j in workflow["jobs"].values() for s in j["steps"] if "run" in s]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for command in targets:
        if command.startswith("make "):
            assert f"\n{command.split()[1]}:" in makefile
        else:
            assert (ROOT / command.split()[-1]).exists()


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        assert "://" in link or (ROOT / link).exists(), f"{page}: {link}"


def test_the_figure_of_the_readme_shows_what_was_measured() -> None:
    code = (ROOT / "docs/images/overview.py").read_text(encoding="utf-8")
    drawn = code.partition("RESULTS = {")[2].partition("\n}")[0]
    measured = (ROOT / "docs/results.md").read_text(encoding="utf-8")
    pairs = re.findall(r"\((\d+\.\d), (\d\.\d)\)", drawn)
    assert len(pairs) == 8
    for value, spread in pairs:
        assert f"{value} ± {spread}" in measured
