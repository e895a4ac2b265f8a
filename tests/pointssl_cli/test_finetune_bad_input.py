"""`pointssl finetune` and what a hostile user gives it: one line, and nothing half-written."""

import os
import pickle
import resource
import signal
import subprocess

import numpy as np
import pytest
import torch
from in_process import refused, worked
from layouts import write_shapenetpart_hdf5
from processes import ENV, pointssl
from processes import command as program
from tiny import flags, write_clouds

from pointssl.checkpoints.file import load_checkpoint, save_checkpoint
from pointssl_datasets.serving.dataset import load_dataset

SMALL = {
    "points": 32, "k": 4, "embedding": 16, "backbone_arg": ("channels=[8,8]",), "batch_size": 8,
    "epochs": 1, "device": "cpu", "threads": 1, "progress": False, "pictures": False,
}  # fmt: skip


@pytest.fixture(autouse=True)
def _threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def clouds(tmp_path_factory):
    return write_clouds(tmp_path_factory.mktemp("bad") / "clouds", per_class=5, pictures=False)


@pytest.fixture
def run(tmp_path):
    """Where the command would train; checked to hold no result and nothing half-written."""
    yield tmp_path / "run"
    assert not [path for path in tmp_path.rglob("*") if ".tmp" in path.name]
    assert not list(tmp_path.glob("run/results.json"))


def command(root, run, task="cls", **changes):
    place = {"data": "folder", "data_root": root, "cache_dir": root / "cache", "run_dir": run}
    if task == "partseg":
        place["backbone_arg"] = ("channels=8", "align=false")
    return ["finetune", task, *flags({**SMALL, **place, **changes})]


@pytest.fixture(scope="module")
def weights(clouds, tmp_path_factory):
    """The checkpoint of a run."""
    place = tmp_path_factory.mktemp("weights")
    done = pointssl(*command(clouds, place))
    assert done.returncode == 0, done.stderr
    return place / "checkpoints" / "model.pt"


def starting(clouds, run, path, **changes):
    """With nothing but the checkpoint to say what the encoder is."""
    bare = {"k": None, "embedding": None, "backbone_arg": None, "points": None}
    return command(clouds, run, weights=path, **{**bare, **changes})


class Code:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_weights_that_are_none(capfd, clouds, run, tmp_path):
    assert "no checkpoint at" in refused(capfd, 1, *starting(clouds, run, tmp_path / "no.pt"))
    evil = tmp_path / "evil.pt"
    evil.write_bytes(pickle.dumps({"encoder": Code(tmp_path / "trace")}))
    refused(capfd, 1, *starting(clouds, run, evil))
    torch.save({"format": 1, "encoder": Code(tmp_path / "trace"), "facts": {}}, evil)
    assert "could run code" in refused(capfd, 1, *starting(clouds, run, evil))
    assert not (tmp_path / "trace").exists()
    assert not run.exists()


def test_weights_of_another_encoder(capfd, clouds, weights, run, tmp_path):
    line = refused(capfd, 2, *starting(clouds, run, weights, backbone="dgcnn_seg"))
    assert "holds a dgcnn; leave --backbone out" in line
    content = load_checkpoint(weights)
    del content["encoder"]["last.linear.weight"]
    save_checkpoint(tmp_path / "torn.pt", content)
    line = refused(capfd, 1, *starting(clouds, run, tmp_path / "torn.pt"))
    assert "does not fit this DGCNN: 1 missing (last.linear.weight)" in line


def test_a_fine_tuned_checkpoint_is_a_start_too(capfd, clouds, weights, tmp_path):
    printed = worked(capfd, *starting(clouds, tmp_path / "again", weights, freeze_backbone=True))
    assert "frozen" in printed
    # the encoder has seen the train split, and no other
    assert "LEAKAGE" not in printed


def test_leakage_is_said(capfd, clouds, weights, tmp_path):
    content = load_checkpoint(weights)
    test = load_dataset("folder", clouds, "test", points=32, cache_dir=clouds / "cache")
    content["facts"]["trained_on"]["fingerprint"] = test.fingerprint
    save_checkpoint(tmp_path / "leaky.pt", content)
    printed = worked(capfd, *starting(clouds, tmp_path / "out", tmp_path / "leaky.pt"))
    assert "LEAKAGE: the encoder was pretrained on this test split" in printed


@pytest.mark.parametrize("task", ["cls", "partseg"])
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"data_root": "/nowhere/at/all"}, "does not exist"),
        ({"points": 3}, "fewer than k = 4 neighbours"),
        ({"batch_size": 400}, "--batch-size 400 is larger than the set of"),
        ({"label_fraction": 0}, "--label-fraction"),
        ({"protocol": "stirct"}, "did you mean 'strict'?"),
        ({"augment": "everything"}, "choose one of none, scale-shift"),
        ({"backbone": "dgcn"}, "did you mean 'dgcnn'?"),
        ({"smoothing": 2}, "--smoothing 2.0: must be at least 0 and at most 0.5"),
        ({"seeds": 0}, "--seeds 0: must be at least 1"),
        ({"normals": True}, "has no normals"),
    ],
)
def test_options_that_do_not_fit(capfd, clouds, run, task, changes, said, tmp_path):
    if task == "partseg":
        write_shapenetpart_hdf5(tmp_path / "parts")
        words = command(tmp_path / "parts", run, task, **{"data": "shapenetpart", **changes})
    else:
        words = command(clouds, run, task, **changes)
    codes = {"data_root": 1, "points": 1}
    assert said in refused(capfd, codes.get(next(iter(changes)), 2), *words)


def test_data_that_do_not_fit(capfd, tmp_path, run):
    rng = np.random.default_rng(0)

    def classes(name, train, test, bad=None):
        root = tmp_path / name
        for split, kinds in (("train", train), ("test", test)):
            for kind in kinds:
                (root / split / kind).mkdir(parents=True)
                for number in range(4):
                    cloud = rng.normal(size=(40, 3))
                    if (kind, number) == bad:
                        cloud[7] = np.nan
                    np.save(root / split / kind / f"m{number}.npy", cloud)
        return command(root, run, batch_size=2)

    line = refused(capfd, 1, *classes("one", ["bed"], ["bed"]))
    assert "train has a single class" in line
    line = refused(capfd, 1, *classes("more", ["bed", "cup"], ["bed", "cup", "lamp"]))
    assert "test has clouds of lamp, of which train has none" in line
    line = refused(capfd, 1, *classes("nan", ["bed", "cup"], ["bed", "cup"], bad=("cup", 2)))
    assert "1 of 40 points are NaN or infinite, the first at row 7" in line
    line = refused(capfd, 1, *classes("no test", ["bed", "cup"], []))
    assert "has no folder 'test'" in line
    assert not run.exists()


def test_the_val_split_of_shapenetpart_must_be_there(capfd, tmp_path, run):
    write_shapenetpart_hdf5(tmp_path / "parts", splits=("train", "test"))
    words = command(tmp_path / "parts", run, "partseg", data="shapenetpart")
    assert "no files of the split 'val'" in refused(capfd, 1, *words)
    assert not run.exists()


def test_a_folder_that_cannot_be_a_run(capfd, clouds, tmp_path):
    (tmp_path / "file").write_text("x")
    line = refused(capfd, 1, *command(clouds, tmp_path / "file"))
    assert "file" in line


def test_a_run_with_other_options_or_damaged_results(capfd, clouds, tmp_path):
    run = tmp_path / "run"
    worked(capfd, *command(clouds, run))
    line = refused(capfd, 2, *command(clouds, run, dropout=0.1))
    assert "holds a run with other options (--dropout 0.5 then, 0.1 now)" in line
    line = refused(capfd, 2, *command(clouds, run, resume="never"))
    assert "holds a run already" in line
    (run / "results.json").write_text("{")
    assert "cannot be read as JSON" in refused(capfd, 1, *command(clouds, run))
    (run / "results.json").unlink()
    worked(capfd, *command(clouds, run))  # tested again, not trained again
    assert (run / "results.json").exists()


def test_a_full_disk_loses_nothing(clouds, tmp_path):
    """No file may grow beyond 20 kB: the first checkpoint fails, in one line."""
    run = tmp_path / "run"

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    words = command(clouds, run)
    done = subprocess.run(
        program(*words), env=ENV, capture_output=True, text=True, preexec_fn=limit, timeout=120
    )
    assert done.returncode == 1
    assert done.stderr.startswith("pointssl: error: could not write"), done.stderr
    assert done.stderr.count("\n") == 1
    assert not list(run.rglob("*.tmp"))
    assert not list(run.rglob("*.pt"))
