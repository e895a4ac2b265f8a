"""The recipes of `docs/extending.md` run as they stand, on data small enough for seconds.

Each section's blocks of Python that begin with a file name are written into an empty folder; then
the commands of the section run there, one after the other.
"""

import re
import runpy
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pointssl_cli.main import main
from pointssl_datasets.base.errors import UserError

PAGE = Path(__file__).resolve().parents[2] / "docs" / "extending.md"
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.M | re.S)
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE.read_text("utf-8"), re.M | re.S))
TINY = 'data="shapes", size=48, points=32, k=4, embedding=16, threads=1'


def files_of(section: str) -> dict[str, str]:
    """Source by file name."""
    blocks = [code for language, code in BLOCK.findall(section) if language == "python"]
    named = [re.match(r"# (\w+\.py)\n", code) for code in blocks]
    return {m[1]: code for m, code in zip(named, blocks, strict=True) if m}


def commands_of(section: str) -> list[str]:
    return [
        line
        for language, block in BLOCK.findall(section)
        if not language
        for line in block.splitlines()
    ]


def small(command: str) -> list[str]:
    """Arguments of a `pointssl` command with what makes it quick."""
    arguments = shlex.split(command)[1:]
    more = {
        "pretrain": "--points 32 --epochs 1 --batch-size 8 --threads 1 --no-progress",
        "inspect": "--clouds 2 --points 64 --passes 1 --threads 1",
        "data": "",
    }[arguments[0]]
    if arguments[0] == "pretrain":
        more += "" if "--data" in arguments else " --size 24"
        more += "" if "--backbone" in arguments else " --k 4 --embedding 16"
        more += " --image-size 16 --views 1" if "--image-size" in arguments else ""
    return [*arguments, *more.split()]


def write_animals(folder: Path) -> None:
    """What the recipe of a dataset reads: a kind a folder, two splits."""
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        for kind, ears in (("bunny", 1), ("hare", 3)):
            for number in range(8):
                path = folder / split / kind / f"{kind}{number}.npy"
                path.parent.mkdir(parents=True, exist_ok=True)
                np.save(path, rng.normal(size=(1024, 3)).astype(np.float32) * (1, ears, 1))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in; what is imported from it is forgotten."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("POINTSSL_CACHE", str(tmp_path / "cache"))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def check_dataset(here: Path, printed: str) -> None:
    assert "16 clouds of 32 points" in printed


def check_prototypes(here: Path, printed: str) -> None:
    import pointssl

    path = here / "runs/prototypes/checkpoints/model.pt"
    task, facts = pointssl.load_task(path)
    assert type(task).__name__ == "Prototypes"
    assert len(facts["classes"]) == len(task.directions)
    del sys.modules["my_task"]
    with pytest.raises(UserError, match=r"not a checkpoint .* that this version reads"):
        pointssl.load_task(path)  # a file never has code imported


SAYS: dict[str, str | Callable[[Path, str], None]] = {
    "A dataset": check_dataset,
    "A backbone": r"pretraining my_net:MaxNet by crosspoint",
    "A method": r"epoch 1: loss [\d.]+, distance [\d.]+, std",
    "An image encoder": r"images of 16 px",
    "A probe": r"nearest centroid[\s\S]*accuracy: random init [\d.]+%",
    "A metric": r"silhouette[\s\S]*random init .*-?[\d.]+ ± [\d.]+",
    "A task": check_prototypes,
}


def test_every_recipe_is_tried() -> None:
    assert {title for title, text in SECTIONS.items() if files_of(text)} == set(SAYS)


@pytest.mark.parametrize("title", SAYS)
def test_recipe(title: str, here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_animals(here / "animals")
    for name, code in files_of(SECTIONS[title]).items():
        code = code.replace('data="shapes"', TINY).replace("epochs=20", "epochs=1")
        (here / name).write_text(code, encoding="utf-8")
    commands = commands_of(SECTIONS[title])
    assert commands
    for command in commands:
        if command.startswith("python "):
            runpy.run_path(str(here / command.split()[1]), run_name="__main__")
        else:
            with pytest.raises(SystemExit) as end:
                main(small(command))
            assert end.value.code in (0, None)
    printed = capfd.readouterr().out
    expected = SAYS[title]
    if callable(expected):
        expected(here, printed)
    else:
        assert re.search(expected, printed), printed
