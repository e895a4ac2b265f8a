"""The examples run as they stand, and show what they say."""

import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from jupyter_client.manager import KernelManager
from nbclient import NotebookClient

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"
NOTEBOOK = EXAMPLES / "first_steps.ipynb"


@pytest.fixture(autouse=True)
def quiet_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One thread, a cache of its own, and no figure on a screen."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("POINTSSL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MPLBACKEND", "agg")


def run(name: str, tmp_path: Path) -> str:
    """What a script prints, started in a folder of its own."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), str(tmp_path / "run")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_pretraining_and_evaluating_from_python(tmp_path: Path) -> None:
    printed = run("pretrain_and_evaluate.py", tmp_path)
    accuracy = {k: float(v) for k, v in re.findall(r"^(\w+): ([\d.]+)% of", printed, re.M)}
    assert accuracy["untrained"] > 30  # of 16 classes
    assert accuracy["pretrained"] > accuracy["untrained"] + 3


def test_an_own_method_trains(tmp_path: Path) -> None:
    printed = run("own_method.py", tmp_path)
    losses = [float(loss) for loss in re.findall(r"epoch \d+: loss ([-\d.]+), align", printed)]
    assert len(losses) == 4
    assert losses[-1] < losses[0]
    assert (tmp_path / "run/checkpoints/last.pt").exists()


def test_an_own_dataset_is_evaluated(tmp_path: Path) -> None:
    printed = run("own_dataset.py", tmp_path)
    found = re.search(r"accuracy: random init ([\d.]+)%", printed)
    assert found is not None
    assert float(found[1]) > 50  # of 3 classes


def test_the_notebook_runs_and_has_its_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    saved = sum(
        "image/png" in o.get("data", {}) for c in notebook.cells for o in c.get("outputs", ())
    )
    assert saved == 4
    monkeypatch.delenv("MPLBACKEND")  # the kernel draws into the notebook
    notebook.cells.append(nbformat.v4.new_code_cell("print(accuracy)"))
    manager = KernelManager(kernel_name="python3", transport="ipc")
    NotebookClient(notebook, timeout=240, km=manager).execute()
    drawn = sum(
        "image/png" in o.get("data", {}) for c in notebook.cells for o in c.get("outputs", ())
    )
    assert drawn == saved
    numbers = re.findall(r"'(\w+)': ([\d.]+)", notebook.cells[-1].outputs[0].text)
    accuracy = {name: float(value) for name, value in numbers}
    assert accuracy["pretrained"] > accuracy["untrained"] + 0.03


def test_the_notebook_is_small() -> None:
    assert NOTEBOOK.stat().st_size < 400_000
