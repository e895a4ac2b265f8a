"""Files that were written long ago are read, continued and used as on the day they were written."""

import json

import kept_files
import kept_records
import kept_runs
import numpy as np
import pytest
from kept_runs import CLOUDS, KEPT, MACHINE

with np.load(kept_records.RECORDED / "outputs.npz") as arrays:
    OUTPUTS = dict(arrays)
CHECKPOINTS = sorted({*kept_files.ENCODERS.values(), *kept_files.TASKS.values()})


def close(found, name):
    expected = OUTPUTS[name]
    assert np.abs(expected).max() > 1e-3
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", kept_files.ENCODERS)
def test_load_encoder(name):
    for key, found in kept_files.encoded(KEPT / kept_files.ENCODERS[name]).items():
        close(found, f"encoder {name} {key}")


@pytest.mark.parametrize("name", kept_files.TASKS)
def test_load_task(name):
    close(kept_files.predicted(KEPT / kept_files.TASKS[name]), f"task {name}")


@pytest.mark.parametrize("name", kept_files.DESCRIBED)
def test_networks_too_large_to_keep(name, tmp_path):
    close(kept_files.predicted(kept_files.describe(name, tmp_path)), f"described {name}")


def test_scikit_learn():
    close(kept_files.transformed(), "scikit-learn")


@pytest.mark.parametrize("file", CHECKPOINTS)
def test_commands_take_them(place, file):
    """The other commands are run on one of them in test_tiny_runs.py."""
    words = f"extract {MACHINE} --data folder --data-root data/clouds --points 32 --split test"
    assert "computed" in place.worked(f"{words} --weights files/{file} --cache-dir cache/{file}")


@pytest.mark.parametrize("name", ["pretrained", "cls"])
def test_export_and_import(place, name):
    last = f"files/{name}/checkpoints/last.pt"
    place.worked(f"import {last} runs/imported_{name}.pt")
    found = kept_files.encoded(place.folder / "runs" / f"imported_{name}.pt")
    close(found["cloud"], f"encoder {name.replace('cls', 'cls_last')} cloud")
    if name == "cls":
        place.worked(f"export --weights {last} --out runs/cls.pt2")
        assert (place.folder / "runs" / "cls.pt2").stat().st_size > 1000


@pytest.mark.parametrize("name", ["pretrained", "cls", "partseg", "semseg"])
def test_a_finished_run_is_read(place, name):
    """By its own config.yaml; its results are those of the file."""
    folder = place.folder / "files" / name
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    command = "pretrain" if name == "pretrained" else f"finetune {name}"
    said = place.worked(f"{command} --config files/{name}/config.yaml")
    assert f"files/{name} is finished" in said
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    if name != "pretrained":
        results = json.loads((folder / "results.json").read_text())["results"]
        assert results["checkpoint"] == f"files/{name}/checkpoints/model.pt"


@pytest.mark.parametrize("name", kept_runs.RESUMED)
def test_a_stopped_run_continues(place, name):
    """To which weights: see test_tiny_runs.py."""
    said = place.printed(name)
    assert f"continuing files/{name} after epoch 1, step " in said
    rows = (place.run(name) / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(row)["epoch"] for row in rows] == [1, 2]


def test_the_feature_cache_is_read(place):
    said = place.worked(
        f"eval-fewshot {kept_runs.FROZEN} --way 2 --shot 3 --runs 4 --cache-dir files/cache "
        "--out runs/from_cache"
    )
    assert said.count("read from the cache") == 4
    assert "computed" not in said


def test_episodes_are_read(place):
    """Those that were kept are those that are drawn today, and give the same accuracies."""
    drawn = place.run("eval_fewshot")
    kept = (KEPT / "episodes.json").read_text()
    assert json.loads((drawn / "episodes.json").read_text()) == json.loads(kept)
    place.worked(
        f"eval-fewshot {kept_runs.FROZEN} --episodes files/episodes.json --out runs/episodes"
    )
    one, two = (
        json.loads((folder / "results.json").read_text())["results"]["pretrained"]["settings"]
        for folder in (drawn, place.folder / "runs" / "episodes")
    )
    assert one == two


@pytest.mark.parametrize("name", kept_runs.EXTRACTED)
def test_features(place, name):
    """Of the packed dataset that was kept, too."""
    for file, found in kept_records.features(place.run(name)).items():
        close(found, f"{name} {file}")


def test_a_skip_list_is_read(place):
    words = f"extract {MACHINE} {CLOUDS} {kept_runs.PRETRAINED} --split train --out runs/skipped"
    place.worked(f"{words} --skip-list files/pointssl-skip.tsv")
    (found,) = (place.folder / "runs" / "skipped").glob("*.npz")
    with np.load(found) as arrays:
        assert len(arrays["names"]) == 23
        assert "bed/m0" not in arrays["names"]
