"""The map of `docs/design.md` is that of the repository: no folder is missing, none is invented."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
MAP = (ROOT / "docs/design.md").read_text(encoding="utf-8").split("```")[1]


@pytest.mark.parametrize("package", ["pointssl", "datasets/pointssl_datasets", "cli/pointssl_cli"])
def test_the_map_has_every_folder_and_no_other(package: str) -> None:
    part = re.search(rf"^{package}/\n(.*?)(?=^\S|\Z)", MAP, re.M | re.S)
    assert part is not None
    named = [name for line in part[1].splitlines() for name in re.findall(r"^ .*?$", line)]
    heads = " ".join(re.split(r"\s{3,}", line.strip())[0] for line in named)
    drawn = set(re.findall(r"(?:^|\s)(\w+)/", heads))
    real = {path.parent.name for path in (ROOT / package).glob("*/__init__.py")}
    assert drawn == real


def test_files_that_the_manual_names_exist() -> None:
    paths = re.compile(r"`((?:pointssl|tests|docs|recipes|engine|cli)/[\w/]+\.(?:py|sbatch))`")
    for page in PAGES:
        for name in paths.findall(page.read_text(encoding="utf-8")):
            places = (ROOT / name, ROOT / "pointssl" / name)
            assert any(place.exists() for place in places), f"{page.name}: {name}"


def test_folders_and_modules_that_the_manual_names_exist() -> None:
    for page in PAGES:
        for name in re.findall(r"`(pointssl/[\w/]+)`", page.read_text(encoding="utf-8")):
            assert (ROOT / name).is_dir(), f"{page.name}: {name}"
