"""The folder of a run: what it says, who may write there."""

import json
import sys

import pytest
import torch
import yaml

from pointssl.config.options import make, to_dict
from pointssl.config.pretrain import PretrainConfig
from pointssl.engine.distributed import World
from pointssl.runs.folder import RunFolder
from pointssl_datasets.base.errors import UsageError, UserError

CPU = torch.device("cpu")
ALONE = World(rank=0, local_rank=0, size=1, device=CPU)
SECOND = World(rank=1, local_rank=1, size=2, device=CPU)


@pytest.fixture
def config(tmp_path):
    return PretrainConfig(run_dir=tmp_path, lr=0.25, amp="off")


def test_it_says_what_was_asked_where_it_ran_and_what_came_out(tmp_path, config):
    folder = RunFolder(tmp_path, config, ALONE)
    folder.start()
    assert make(PretrainConfig, {}, tmp_path / "config.yaml") == config
    facts = json.loads((tmp_path / "environment.json").read_text())
    assert facts["versions"]["torch"] == torch.__version__
    assert facts["processes"] == 1
    assert facts["device"] == "cpu"
    assert facts["command"] == sys.argv
    assert folder.write_results({"accuracy": 0.5}) == tmp_path / "results.json"
    results = json.loads((tmp_path / "results.json").read_text())
    assert results == {"config": to_dict(config), "results": {"accuracy": 0.5}}
    assert yaml.safe_load((tmp_path / "config.yaml").read_text()) == results["config"]
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"config.yaml", "environment.json", "results.json"}


def test_two_runs_cannot_share_a_folder(tmp_path, config):
    folders = [RunFolder(tmp_path, config, ALONE, flag="--run-dir") for _ in range(2)]
    with (
        folders[0].claimed(),
        pytest.raises(UsageError, match=r"another process is training in .*--run-dir"),
        folders[1].claimed(),
    ):
        pass
    with folders[1].claimed():
        pass
    assert list(tmp_path.iterdir()) == []


def test_it_is_free_again_after_an_error(tmp_path, config):
    folder = RunFolder(tmp_path, config, ALONE)
    with pytest.raises(ZeroDivisionError), folder.claimed():
        raise ZeroDivisionError
    with folder.claimed():
        pass


def test_other_ranks_write_nothing(tmp_path, config):
    folder = RunFolder(tmp_path / "run", config, SECOND)
    with folder.claimed():
        folder.start()
        folder.write_results({})
    assert not (tmp_path / "run").exists()


def test_a_file_in_its_place_is_one_line(tmp_path, config):
    (tmp_path / "run").write_text("a file")
    with pytest.raises(UserError, match=r"--out .*run is a file: name a folder"):
        RunFolder(tmp_path / "run", config, ALONE)


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path, config):
    (tmp_path / "above").write_text("a file")
    folder = RunFolder(tmp_path / "above" / "run", config, ALONE)
    with pytest.raises(UserError, match=r"could not write .*config\.yaml"), folder.claimed():
        folder.start()
