"""The manual builds without a warning, fetches nothing, and has every public name."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PUBLIC = (
    "pointssl.build_encoder",
    "pointssl.load_encoder",
    "pointssl.load_task",
    "pointssl_datasets.load_dataset",
    "pointssl.sklearn.PointEncoder",
    "pointssl.losses.nt_xent",
    "pointssl.backbones.base.Features",
    "pointssl_datasets.base.source.Source",
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built manual; a broken link or a reference to nothing fails here."""
    out = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(out)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return out


def test_every_page_is_in_the_menu(site: Path) -> None:
    menu = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for page in (ROOT / "docs").rglob("*.md"):
        assert page.relative_to(ROOT / "docs").as_posix() in menu


def test_the_pages_fetch_nothing_from_elsewhere(site: Path) -> None:
    loads = re.compile(
        r"<(?:script|img|iframe|link)\b[^>]*?\b(?:src|href)=\"?(?:https?:)?//[^\s>\"]+"
    )
    pages = list(site.rglob("*.html"))
    assert len(pages) > 20
    for page in pages:
        found = [m[0] for m in loads.finditer(page.read_text(encoding="utf-8"))]
        assert [tag for tag in found if 'rel="canonical"' not in tag] == [], page
    for sheet in site.rglob("*.css"):
        assert not re.search(r"url\(\"?https?:", sheet.read_text(encoding="utf-8")), sheet


def test_the_reference_has_the_public_names(site: Path) -> None:
    text = "".join(p.read_text(encoding="utf-8") for p in (site / "reference").rglob("*.html"))
    missing = [name for name in PUBLIC if f'id="{name}"' not in text]
    assert missing == []


def test_docstrings_leave_no_marks_of_another_language(site: Path) -> None:
    for page in (site / "reference").rglob("*.html"):
        text = re.sub(r"<details.*?</details>", "", page.read_text(encoding="utf-8"), flags=re.S)
        found = re.search(r".{60}:(?:func|class|mod|meth|data|attr|math):.{40}", text, re.S)
        assert found is None, f"{page}: {found and found[0]}"
