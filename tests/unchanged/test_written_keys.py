"""What a command writes keeps its files, its keys, their kinds and the options' values.

More may be added. A key that held null may hold something else: null means that it was not known.
"""

import json

import kept_records
import kept_runs
import pytest
import yaml

RECORDED = kept_records.read("keys")
OPTIONS = kept_records.read("options")


@pytest.mark.parametrize("name", list(kept_runs.names()))
def test_keys(place, name):
    before = RECORDED[name]
    if name in kept_runs.PRINTED:
        documents, files = {"printed": json.loads(place.printed(name))}, []
    else:
        folder = place.run(name)
        documents = kept_records.documents(folder)
        files = kept_records.names_of_files(folder)
    assert set(before["files"]) <= set(files)
    for file, paths in before["keys"].items():
        now = kept_records.keys(kept_records.without_tensors(documents[file]))
        for path, kinds in paths.items():
            assert path in now, f"{name}: {file} has no {path}"
            if "null" not in kinds:
                allowed = {*kinds, "null"} if "/git_" in path else set(kinds)  # no checkout
                assert set(now[path]) <= allowed, (name, file, path, kinds, now[path])


@pytest.mark.parametrize("name", list(OPTIONS))
def test_config(place, name):
    """config.yaml says what was asked, in the same words."""
    documents = kept_records.documents(place.run(name))
    for file, before in OPTIONS[name].items():
        now = documents[file]
        assert {key: now.get(key, "gone") for key in before} == before


@pytest.mark.parametrize("name", ["pointnet", "cls"])
def test_config_is_the_command(place, name):
    """Given back, config.yaml is the same run, which is finished."""
    folder = place.run(name)
    command = kept_runs.words_of(name).split(" --")[0]
    said = place.worked(f"{command} --config {folder}/config.yaml")
    assert "is finished" in said


OF_DATA = ("show", "convert", *kept_runs.FILES_OF_THEIR_OWN, *kept_runs.PRINTED)


@pytest.mark.parametrize("name", [name for name in kept_runs.names() if name not in OF_DATA])
def test_run_folder(place, name):
    """What it was asked, where it ran, what came out: the same three files of every command."""
    folder = place.run(name)
    config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    environment = json.loads((folder / "environment.json").read_text(encoding="utf-8"))
    assert results["config"] == config
    assert results["results"]
    assert environment["command"][0] == "pointssl"
    assert environment["processes"] == 1
