"""A new probe: its class and its line in PROBES give a command with flags, tables and figures."""

import json

import pytest
import torch
import typer
from my_probes import Centroids
from tiny import flags, options, write_clouds
from typer.testing import CliRunner

from pointssl.probes import PROBES
from pointssl.probes.build import eval_config
from pointssl_cli.commands import add_commands


@pytest.fixture
def app(monkeypatch):
    """The program, as it would be with two more lines in PROBES."""
    monkeypatch.setitem(PROBES, "centroids", "my_probes:Centroids")
    monkeypatch.setitem(PROBES, "spread", "my_probes:Spread")
    app = typer.Typer()
    add_commands(app)
    yield app
    eval_config.cache_clear()


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    before = torch.get_num_threads()
    yield write_clouds(tmp_path_factory.mktemp("data") / "clouds", pictures=False)
    torch.set_num_threads(before)


def run(app, root, out, *words):
    given = options(root, None, seeds=2, out=out)
    for other in ("image_encoder", "image_size", "projection", "epochs", "run_dir", "batch_size"):
        given.pop(other)
    words = [words[0], *flags(given), *words[1:]]
    result = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output, json.loads((out / "results.json").read_text())


def test_a_classifier(app, root, tmp_path):
    help = CliRunner().invoke(app, ["eval-centroids", "--help"], env={"COLUMNS": "200"}).output
    assert Centroids.__doc__ in help
    assert "--power" in help
    assert "Power of the distance." in help
    assert "--label-fraction" in help
    printed, found = run(app, root, tmp_path, "eval-centroids", "--power", 3)
    assert found["config"]["power"] == 3.0
    (result,) = found["results"].values()
    assert 0.3 < result["accuracy"]["mean"] <= 1
    assert "nearest centroid, features standardised on train; 24 train shapes" in printed
    assert f"{100 * result['accuracy']['mean']:.1f}" in printed
    assert (tmp_path / "confusion_random_init.png").read_bytes().startswith(b"\x89PNG")


def test_a_score(app, root, tmp_path):
    printed, found = run(app, root, tmp_path, "eval-spread")
    (result,) = found["results"].values()
    assert 0 < result["between"]["mean"] < 1
    assert "variance between the classes of test over all variance" in printed
    assert (tmp_path / "scores.png").read_bytes().startswith(b"\x89PNG")
    help = CliRunner().invoke(app, ["eval-spread", "--help"], env={"COLUMNS": "200"}).output
    assert "--label-fraction" not in help  # it learns from no label


def test_eval_all_includes_them(app, root, tmp_path):
    printed, found = run(app, root, tmp_path, "eval-all", "--label-fraction", 0.5)
    assert {"svm_strict", "svm_crosspoint", "retrieval", "centroids", "spread"} < set(
        found["results"]
    )
    assert found["results"]["centroids"]["random init"]["train"] == 12
    lines = printed.splitlines()
    assert any(line.startswith("nearest centroid  ") and "accuracy" in line for line in lines)
    assert any(line.startswith("spread  ") and "between" in line for line in lines)


def test_an_option_that_every_evaluation_has_is_refused(monkeypatch):
    monkeypatch.setitem(PROBES, "clashing", "my_probes:Clashing")
    with pytest.raises(TypeError, match="Clashing: every evaluation has an option k already"):
        eval_config("clashing")
