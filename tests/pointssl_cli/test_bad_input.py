"""A hostile or new user: every mistake ends in one line and an exit code, and leaves nothing."""

import contextlib
import os
import pickle
import resource
import shutil
import signal
import threading
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from in_process import call, refused, worked
from PIL import Image
from processes import pointssl
from safetensors.torch import save_file
from tiny import flags, options, write_clouds

from pointssl_cli.main import main
from pointssl_datasets.packing.cache import HOST

NOT_SERVED = ("image_encoder", "image_size", "projection", "epochs", "run_dir", "batch_size")


def evaluation(root, **changes):
    """Options of `extract` and `eval-svm` that fit those of `options`."""
    given = {**options(root, None), "baseline": False, "seeds": 1, **changes}
    return {name: value for name, value in given.items() if name not in NOT_SERVED}


def command(name, root, place, **changes):
    """``pointssl NAME`` on ``root``, quick and tiny, writing into ``place``."""
    if name == "pretrain":
        return [name, *flags(options(root, place, **{"image_encoder": "none", **changes}))]
    if name == "data render":
        kept = ("data", "data_root", "cache_dir", "points", "image_size", "progress")
        given = {key: value for key, value in options(root, None).items() if key in kept}
        return ["data", "render", *flags({**given, "views": 1, "out": place, **changes})]
    given = evaluation(root, out=place, **changes)
    if name == "extract":
        given = {key: value for key, value in given.items() if key not in ("baseline", "seeds")}
    return [name, *flags(given)]


COMMANDS = ("pretrain", "extract", "eval-svm", "data render")
every_command = pytest.mark.parametrize("name", COMMANDS)


@pytest.fixture(autouse=True)
def _threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def clouds(tmp_path_factory):
    """Three classes of three clouds, without pictures."""
    return write_clouds(tmp_path_factory.mktemp("bad") / "clouds", per_class=3, pictures=False)


@pytest.fixture(scope="module")
def weights(clouds):
    """A checkpoint of `pretrain`; nothing but its file is used."""
    run = clouds.parent / "run"
    words = command("pretrain", clouds, run, epochs=1)
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 0
    return run / "checkpoints" / "last.pt"


@pytest.fixture
def out(tmp_path):
    """Where the command would write; checked to hold nothing half-written."""
    yield tmp_path / "out"
    assert not [path for path in tmp_path.rglob("*") if ".tmp" in path.name]
    assert not (tmp_path / "out" / "checkpoints").exists()
    assert not list(tmp_path.glob("out/results.json"))


def write_modelnet(root, *, count=8, points=64, labels=None, xyz=None, keys=("data", "label")):
    """Two classes in the layout of modelnet40_ply_hdf5_2048, contiguous HDF5."""
    root.mkdir()
    rng = np.random.default_rng(0)
    (root / "shape_names.txt").write_text("bed\nchair\n")
    for split in ("train", "test"):
        (root / f"{split}_files.txt").write_text(f"data/modelnet40_ply_hdf5_2048/{split}0.h5\n")
        with h5py.File(root / f"{split}0.h5", "w") as file:
            file[keys[0]] = rng.normal(size=(count, points, 3)) if xyz is None else xyz
            file[keys[1]] = np.arange(count) % 2 if labels is None else labels
    return root


# Data


@every_command
@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("absent", "(--data-root) does not exist. Name the folder of the dataset with --data-root"),
        ("a file", "(--data-root) is a file. Name the folder of the dataset with --data-root"),
        ("empty", "no clouds for the split 'train'. Expected root/train/CLASS/name.EXT"),
    ],
)
def test_a_folder_that_is_no_dataset(capfd, tmp_path, out, name, kind, said):
    root = tmp_path / "root"
    if kind == "a file":
        root.write_text("x")
    if kind == "empty":
        root.mkdir()
    words = command(name, root, out, cache_dir=tmp_path / "cache")
    line = refused(capfd, 1, *words)
    assert str(root) in line
    assert said in line
    assert not out.exists()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("modelnet40", "Expected the layout of modelnet40_ply_hdf5_2048: train_files.txt"),
        ("modelnet10", "Expected the layout of modelnet40_ply_hdf5_2048: train_files.txt"),
        ("shapenet-render", "Expected ShapeNet/<synset>/<id>.ply and ShapeNetRendering/"),
    ],
)
def test_a_dataset_of_another_layout(capfd, clouds, out, data, said):
    line = refused(capfd, 1, *command("extract", clouds, out, data=data))
    assert line.startswith(f"{data}: not found in {clouds}")
    assert said in line


@every_command
@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("cut off", "train0.h5: truncated or damaged HDF5"),
        ("keys", "train0.h5: expected the keys 'data', 'label'; found classes, points"),
        ("labels", "row 3: the label is not from 0 to 1"),
        ("NaN", "train0.h5: row 3: 1 of 64 points are NaN or infinite, the first at row 5"),
        ("none", "train_files.txt: the files that it lists contain no clouds"),
    ],
)
def test_damaged_hdf5(capfd, tmp_path, out, name, damage, said):
    xyz = np.random.default_rng(0).normal(size=(8, 64, 3))
    if damage == "NaN":
        xyz[3, 5, 1] = np.nan
    made = {
        "keys": {"keys": ("points", "classes")},
        "labels": {"labels": [0, 1, 0, 2, 0, 1, 9, 1]},
        "none": {"count": 0},
        "NaN": {"xyz": xyz},
    }
    root = write_modelnet(tmp_path / "data", **made.get(damage, {}))
    if damage == "cut off":
        file = root / "train0.h5"
        file.write_bytes(file.read_bytes()[:-3000])
    words = command(name, root, out, data="modelnet40")
    assert said in refused(capfd, 1, *words)
    assert not out.exists()


def test_exact_repeats_are_a_note_and_no_failure(capfd, tmp_path):
    xyz = np.random.default_rng(0).normal(size=(8, 64, 3))
    xyz[5] = xyz[7] = xyz[2]
    root = write_modelnet(tmp_path / "data", xyz=xyz)
    for name in ("extract", "data render"):
        printed = worked(capfd, *command(name, root, tmp_path / name, data="modelnet40"))
        assert "note: 2 of 8 clouds repeat another one exactly\n" in printed


def test_clouds_of_different_sizes_are_served_alike(capfd, clouds, tmp_path):
    root = shutil.copytree(clouds, tmp_path / "data", ignore=shutil.ignore_patterns("cache"))
    np.save(root / "train/bed/m1.npy", np.random.default_rng(1).normal(size=(20, 3)))
    printed = worked(capfd, *command("extract", root, tmp_path / "out"))
    assert "1 of 9 clouds have fewer than 32 points (the smallest 20): their points are" in printed
    with np.load(tmp_path / "out/folder_train.npz") as found:
        assert np.isfinite(found["features"]).all()


@pytest.mark.parametrize("name", ["pretrain", "extract", "eval-svm"])
def test_fewer_points_than_neighbours(capfd, clouds, out, name):
    line = refused(capfd, 1, *command(name, clouds, out, k=40))
    assert line == (
        "clouds of 32 points have fewer than k = 40 neighbours: raise --points or lower --k"
    )


def test_a_batch_larger_than_the_set(capfd, clouds, out):
    line = refused(capfd, 2, *command("pretrain", clouds, out, batch_size=40))
    assert line == "--batch-size 40 is larger than the set of 9 clouds: lower it to 9 or less"
    assert not out.exists()


def test_a_batch_that_two_processes_cannot_share(clouds, out):
    done = pointssl(*command("pretrain", clouds, out, batch_size=7), ranks=2)
    assert done.returncode != 0
    ours = [line for line in done.stderr.splitlines() if line.startswith("pointssl: ")]
    assert len(ours) == 1
    assert "--batch-size 7 is global and does not divide over 2 processes; try 6 or 8" in ours[0]
    assert not out.exists()


def test_splits_with_other_classes(capfd, tmp_path, out):
    def evaluated(train, test):
        root = tmp_path / "data"
        shutil.rmtree(root, ignore_errors=True)
        rng = np.random.default_rng(0)
        for split, classes in (("train", train), ("test", test)):
            for label, count in classes.items():
                (root / split / label).mkdir(parents=True)
                for i in range(count):
                    np.save(root / split / label / f"m{i}.npy", rng.normal(size=(40, 3)))
        return command("eval-svm", root, out)

    line = refused(capfd, 1, *evaluated({"bed": 3}, {"bed": 2}))
    assert "every train shape is of the class bed; a probe needs at least two classes" in line
    line = refused(capfd, 1, *evaluated({"bed": 3, "cup": 2}, {"bed": 2, "lamp": 1}))
    assert "folder: test has shapes of lamp, of which train has none" in line
    line = refused(capfd, 1, *evaluated({"bed": 1, "cup": 1}, {"bed": 2}))
    assert "each of 2 classes has one train shape. Use more labels" in line
    line = refused(capfd, 1, *evaluated({"bed": 3, "cup": 2}, {}))
    assert "has no folder 'test'" in line
    line = refused(capfd, 1, *evaluated({"bed": 5, "cup": 5}, {"bed": 1}), "--label-fraction", 0.01)
    assert "Use more labels (--label-fraction), or give --c" in line


def test_a_class_of_one_is_said_to_be_one(capfd, clouds, tmp_path):
    root = shutil.copytree(clouds, tmp_path / "data", ignore=shutil.ignore_patterns("cache"))
    for number in (1, 2):
        (root / f"train/lamp/m{number}.npy").unlink()
    printed = worked(capfd, *command("eval-svm", root, tmp_path / "out"))
    assert "1 classes have one train shape" in printed
    assert (tmp_path / "out/results.json").exists()


# Pictures


def test_clouds_and_pictures_that_are_unpaired(capfd, tmp_path):
    root = write_clouds(tmp_path / "data", per_class=3)
    (root / "train/bed/m0.png").unlink()
    Image.new("RGB", (8, 8)).save(root / "train/bed/other.png")
    pictured = {"image_encoder": "tiny:PictureNet", "batch_size": 4, "epochs": 1}
    words = command("pretrain", root, tmp_path / "run", **pictured)
    line = refused(capfd, 1, *words)
    assert "clouds without images: 1 of 9 (bed/m0); images without a cloud: 1" in line
    assert "--on-unpaired skip" in line
    assert not (tmp_path / "run").exists()
    printed = worked(capfd, *words, "--on-unpaired", "skip")
    assert "note: left out: clouds without images: 1 of 9 (bed/m0)" in printed
    assert "8 clouds of 32 points" in printed


@pytest.mark.parametrize("damage", ["rubbish", "cut off"])
def test_a_picture_that_does_not_decode(capfd, tmp_path, out, damage):
    root = write_clouds(tmp_path / "data", per_class=3)
    file = root / "train/bed/m0.png"
    whole = file.read_bytes()
    file.write_bytes(b"GIF89a, or is it" if damage == "rubbish" else whole[: len(whole) // 2])
    words = command("pretrain", root, out, image_encoder="tiny:PictureNet")
    line = refused(capfd, 1, *words)
    assert line.startswith(f"{file}: ")
    assert "not a JPEG, PNG or WebP image" in line or "can't be decoded" in line
    assert not list((root / "cache").glob("images/*/"))


@pytest.mark.parametrize("data", ["folder", "shapes"])
def test_no_pictures_for_an_image_encoder(capfd, clouds, out, data):
    size = {"size": 16} if data == "shapes" else {}
    words = command(
        "pretrain", clouds, out, data=data, image_encoder="tiny:PictureNet", views=0, **size
    )
    assert refused(capfd, 2, *words) == (
        f"--data {data} has no images: render some with --views 8, or leave them out with "
        "--image-encoder none"
    )


# Weights


class Code:
    """Pickles to a call that makes a folder."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def evil_file(path, protocol, trace):
    """A pickle, or a torch file, that would make the folder ``trace``."""
    if protocol is None:
        torch.save({"format": 1, "encoder": Code(trace), "facts": {}}, path)
    else:
        path.write_bytes(pickle.dumps({"encoder": Code(trace)}, protocol=protocol))


def of_weights(clouds, out, path, **changes):
    return command("extract", clouds, out, weights=path, k=None, embedding=None, **changes)


def fitting(clouds, out, path, **changes):
    """`extract` with nothing but the checkpoint to say what the encoder is."""
    return of_weights(clouds, out, path, backbone_arg=None, points=None, **changes)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("absent", "no checkpoint at"),
        ("half", "is not a readable checkpoint: truncated"),
        ("cut off", "is not a readable checkpoint: truncated"),
        ("empty", "is not a readable checkpoint: truncated"),
        ("text", "is not a readable checkpoint: truncated, or of another kind?"),
        ("folder", "is a folder: give the file"),
        ("below a file", "is not a readable checkpoint: Not a directory"),
        ("safetensors", "checkpoint"),
        ("state dict", "tensors of no network that is known here"),
        ("list", "holds no named tensors: expected a state dict"),
        ("no facts", "lacks backbone, backbone_args, points"),
        ("no tensors", "lacks tensors of the encoder"),
        ("newer", "was written by a newer pointssl"),
    ],
)
def test_what_is_no_checkpoint(capfd, clouds, weights, tmp_path, out, kind, said):
    path = tmp_path / "file.pt"
    whole = weights.read_bytes()
    content = torch.load(weights, weights_only=True)
    if kind in ("half", "cut off", "empty", "text"):
        cut = {"half": whole[: len(whole) // 2], "cut off": whole[:-50], "text": b"hello\nyou\n"}
        path.write_bytes(cut.get(kind, b""))
    elif kind == "folder":
        path.mkdir()
    elif kind == "below a file":
        path = weights / "last.pt"
    elif kind == "safetensors":
        save_file({"a": torch.zeros(2)}, path)
    elif kind != "absent":
        changes = {
            "state dict": content["encoder"],
            "list": [1, 2],
            "no facts": {**content, "facts": {}},
            "no tensors": {**content, "encoder": [1]},
            "newer": {**content, "format": 99},
        }
        torch.save(changes[kind], path)
    line = refused(capfd, 1, *fitting(clouds, out, path))
    assert str(path) in line
    assert said in line
    assert not out.exists()


@pytest.mark.parametrize("protocol", [None, 2, 4])
@pytest.mark.parametrize("option", ["weights", "image_weights"])
def test_a_file_with_code_is_refused_and_the_code_does_not_run(
    capfd, clouds, tmp_path, out, option, protocol
):
    path, trace = tmp_path / "file.pt", tmp_path / "it-ran"
    evil_file(path, protocol, trace)
    if option == "weights":
        words = fitting(clouds, out, path)
    else:
        pictured = {"image_encoder": "tiny:PictureNet", "views": 1, "image_weights": path}
        words = command("pretrain", clouds, out, **pictured)
    assert str(path) in refused(capfd, 1, *words)
    assert not trace.exists()
    if protocol is not None:
        pickle.loads(path.read_bytes())
        assert trace.exists()  # it would have


def test_a_checkpoint_cannot_have_code_imported_or_called(
    capfd, clouds, weights, tmp_path, out, monkeypatch
):
    trace = tmp_path / "it-ran"
    (tmp_path / "planted.py").write_text(f"import os\nos.mkdir({str(trace)!r})\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    content = torch.load(weights, weights_only=True)
    for name, arguments in (("planted:Net", {}), ("os:mkdir", {"path": str(trace)})):
        facts = {**content["facts"], "backbone": name, "backbone_args": arguments}
        torch.save({**content, "facts": facts}, tmp_path / "file.pt")
        ended = call(capfd, *fitting(clouds, out, tmp_path / "file.pt"))
        assert ended.code in (1, 2)
        assert ended.err.count("\n") == 1
        assert name in ended.err
        assert not trace.exists()


def test_a_checkpoint_of_another_encoder(capfd, clouds, weights, out, tmp_path):
    line = refused(capfd, 2, *fitting(clouds, out, weights, backbone="dgcnn_seg"))
    assert line == f"--backbone dgcnn_seg: {weights} holds a dgcnn; leave --backbone out"
    line = refused(capfd, 1, *fitting(clouds, out, weights), "--embedding", 8)
    assert "of another shape (last.linear.weight (16, 16) instead of (8, 16)" in line
    line = refused(capfd, 2, *fitting(clouds, out, weights), "--normals")
    assert line == "--normals: folder has no normals. Leave --normals out."
    printed = worked(capfd, *fitting(clouds, tmp_path / "good", weights), "--k", 6)
    assert "note: pretrained with k = 4, evaluated with 6\n" in printed


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("state dict", "not the weights of this image encoder"),
        ("list", "expected a state dict"),
        ("text", "is not a readable checkpoint: truncated, or of another kind?"),
        ("folder", "is a folder: give the file"),
        ("absent", "no checkpoint at"),
    ],
)
def test_image_weights_of_the_wrong_kind(capfd, clouds, tmp_path, out, kind, said):
    path = tmp_path / "file.pt"
    if kind in ("state dict", "list"):
        torch.save({"a": torch.zeros(2)} if kind == "state dict" else [1], path)
    elif kind == "text":
        path.write_text("hello")
    elif kind == "folder":
        path.mkdir()
    pictured = {"image_encoder": "tiny:PictureNet", "views": 1, "image_weights": path}
    line = refused(capfd, 1, *command("pretrain", clouds, out, **pictured))
    assert line.startswith("--image-weights: " if kind != "state dict" else f"{path}: ")
    assert str(path) in line
    assert said in line
    assert not out.exists()


def test_image_weights_without_an_image_encoder(capfd, clouds, tmp_path, out):
    words = command("pretrain", clouds, out, image_weights=tmp_path / "file.pt")
    assert "there is no image encoder to load them into" in refused(capfd, 2, *words)


# Options


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("epochs: many", "--epochs 'many': expected int, got str"),
        ("epochs: 1.5", "--epochs 1.5: expected int, got float"),
        ("lr: [1]", "--lr [1]: expected float, got list"),
        ("data: null", "--data None: expected str"),
        ("batchsize: 3", "unknown option 'batchsize', did you mean 'batch_size'?"),
        ("zzz: 3", "unknown option 'zzz'; --help lists them"),
        ("- a\n- b", "expected `option: value` lines, got list"),
        ("a: [1", "not plain YAML"),
        ("amp: of", "--amp 'of': choose one of off, bf16, fp16, did you mean 'off'?"),
        ("data: !!python/object/apply:os.mkdir ['it-ran']", "not plain YAML"),
        (None, "No such file or directory. Give a readable YAML file."),
    ],
)
def test_a_config_file_that_is_wrong(capfd, tmp_path, monkeypatch, text, said):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "options.yaml"
    if text is not None:
        file.write_text(text)
    line = refused(capfd, 2, "pretrain", "--config", file)
    assert line.startswith(f"--config {file}: ")
    assert said in line
    assert [path for path in tmp_path.iterdir() if path != file] == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("pretrian", "Did you mean 'pretrain'?"),
        ("data rendr", "Did you mean 'render'?"),
        ("pretrain --epoch 3", "--epochs"),
        ("data render --view 3", "--views"),
        ("pretrain --epochs x", "Invalid value for '--epochs'"),
        ("extract --out", "requires an argument"),
        ("extract more", "more"),
        ("extract --points 0", "--points 0: must be at least 1"),
        ("extract --seed -1", "--seed -1: must be at least 0"),
        ("extract --device cudda", "did you mean 'cuda'?"),
        ("eval-svm --protocol strikt", "did you mean 'strict'?"),
        ("eval-svm --c -1", "--c -1.0: must be"),
        ("eval-svm --c nan", "--c nan: must be finite"),
        ("eval-svm --label-fraction 0", "--label-fraction 0.0: must be at least"),
        ("eval-svm --label-fraction 1.5", "at most 1"),
    ],
)
def test_flags_that_are_wrong(capfd, words, said):
    assert said in refused(capfd, 2, *words.split())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"data": "modelnet4"}, "unknown dataset 'modelnet4', did you mean 'modelnet40'?"),
        ({"data": "zzz"}, "unknown dataset 'zzz'. Known: shapes, "),
        ({"data": ":"}, "dataset ':': expected package.module:Name."),
        ({"data": "json:zzz"}, "module 'json' has no 'zzz'"),
        ({"data": "json:__doc__"}, "expected a function or a class"),
        ({"data": "nowhere.at_all:open"}, "no module named 'nowhere'"),
        ({"backbone": "dgcn"}, "unknown backbone 'dgcn', did you mean 'dgcnn'?"),
        ({"backbone": "json:loads"}, "expected a class derived from torch's Module"),
        ({"backbone": "tiny:PictureNet"}, "has no argument 'in_channels'. It takes none."),
        ({"method": "crospoint"}, "unknown method 'crospoint', did you mean 'crosspoint'?"),
        ({"method": "json:loads"}, "expected a class derived from torch's Module"),
        ({"image_encoder": "resnet5", "views": 1}, "did you mean 'resnet50'?"),
        ({"backbone_arg": ("slope",)}, "--backbone-arg 'slope': expected KEY=VALUE"),
        ({"backbone_arg": ("slop=1",)}, "no argument 'slop', did you mean 'slope'?"),
        ({"backbone_arg": ("slope=abc",)}, "slope = 'abc', expected a value like 0.2."),
        ({"backbone_arg": ("channels=[8,0]",)}, "channels = [8, 0], expected a value like"),
        ({"backbone_arg": ("channels=[]",)}, "channels = [], expected a value like"),
        ({"backbone_arg": ("k=[1",)}, "expected a plain value such as 3, true or [8,8]"),
        ({"backbone_arg": ("k=!!python/name:os.system",)}, "expected a plain value"),
    ],
)
def test_names_and_arguments_that_are_wrong(capfd, clouds, out, changes, said):
    assert said in refused(capfd, 2, *command("pretrain", clouds, out, **changes))
    assert not out.exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
@pytest.mark.parametrize("name", ["pretrain", "extract", "eval-svm"])
def test_a_gpu_that_is_not_there(capfd, clouds, out, name):
    line = refused(capfd, 2, *command(name, clouds, out, device="cuda"))
    assert line == "--device cuda: torch sees no GPU here; see `pointssl doctor`"


# Places


@every_command
def test_a_place_that_cannot_be_written(capfd, clouds, tmp_path, name):
    file = tmp_path / "file"
    file.write_text("kept")
    for place in (file / "below", file):
        assert str(place) in refused(capfd, 1, *command(name, clouds, place))
    line = refused(capfd, 1, *command(name, clouds, tmp_path / "out", cache_dir=file / "below"))
    assert line.startswith(f"cannot write the cache {file / 'below' / 'clouds'}: Not a directory")
    assert "--cache-dir" in line
    assert file.read_text() == "kept"
    assert list(tmp_path.iterdir()) == [file]


@contextlib.contextmanager
def files_of_at_most(size):
    """As if the disk were full: no file of this process grows beyond ``size`` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@every_command
def test_no_space_for_the_packed_data(capfd, clouds, tmp_path, out, name):
    words = command(name, clouds, out, cache_dir=tmp_path / "cache")
    with files_of_at_most(2000):
        line = refused(capfd, 1, *words)
    assert line.startswith(f"cannot write the cache {tmp_path / 'cache' / 'clouds'}: File too")
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.suffix != ".lock"][1:]
    assert not out.exists()


def test_no_space_for_a_checkpoint(capfd, clouds, weights, tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_DIR", str(tmp_path))  # its difference may be larger than the limit
    run = tmp_path / "run"
    with files_of_at_most(60_000):
        line = refused(capfd, 1, *command("pretrain", clouds, run, epochs=1))
    assert line.startswith(f"could not write {run / 'checkpoints' / 'last.pt'}: ")
    assert list((run / "checkpoints").iterdir()) == []
    worked(capfd, *command("pretrain", clouds, run, epochs=1))  # with space, it simply goes on
    assert (run / "checkpoints/last.pt").exists()


def test_no_space_for_features_and_results(capfd, clouds, tmp_path):
    words = command("eval-svm", clouds, tmp_path / "out", cache_dir=tmp_path / "cache")
    worked(capfd, *command("extract", clouds, tmp_path / "npz", cache_dir=tmp_path / "cache"))
    shutil.rmtree(tmp_path / "cache" / "features")
    with files_of_at_most(2500):  # what is printed goes into a file here, and still fits
        ended = call(capfd, *words)
    assert ended.code == 1
    *cache, last = ended.err.splitlines()
    assert [line.partition(" ")[0] for line in cache] == ["feature"] * len(cache)
    assert all("not written, results are not affected: File too large" in line for line in cache)
    assert last.startswith(f"pointssl: error: could not write {tmp_path / 'out' / 'results.json'}:")
    assert list((tmp_path / "out").iterdir()) == []
    assert not list((tmp_path / "cache/features").glob(".*"))


def test_a_damaged_feature_cache_is_one_line_and_the_same_result(capfd, clouds, tmp_path):
    cache = tmp_path / "cache"
    shutil.copytree(clouds / "cache", cache) if (clouds / "cache").exists() else None
    shutil.rmtree(cache / "features", ignore_errors=True)

    def features(ended):
        assert ended.code == 0
        with np.load(tmp_path / "out/folder_train.npz") as found:
            return ended.err, found["features"]

    words = command("extract", clouds, tmp_path / "out", split="train", cache_dir=cache)
    _, first = features(call(capfd, *words))
    (file,) = (cache / "features").iterdir()
    whole = file.read_bytes()
    for damaged in (whole[:-1] + bytes([whole[-1] ^ 1]), whole[:100], b""):
        file.write_bytes(damaged)
        said, again = features(call(capfd, *words))
        assert said.count("\n") == 1
        assert said.startswith(f"feature cache {file}: not used, features are computed again: ")
        assert np.array_equal(first, again)
        assert "read from the cache" in worked(capfd, *words)  # it is whole again


def test_what_a_killed_packer_left_is_cleared_away(capfd, clouds, tmp_path):
    left = tmp_path / f"cache/clouds/folder-train-0123456789.tmp-{HOST}-deadbeef"
    left.mkdir(parents=True)
    (left / "xyz.npy").write_bytes(b"half")
    left.with_name("folder-train-0123456789.lock").touch()
    words = command("extract", clouds, tmp_path / "out", cache_dir=tmp_path / "cache")
    worked(capfd, *words)
    assert not list((tmp_path / "cache").rglob("*.tmp*"))


def test_an_interrupt_while_data_is_packed(capfd, tmp_path):
    cache = tmp_path / "cache"

    def interrupt():
        for _ in range(1000):
            if list(cache.glob("clouds/*.tmp-*")):
                os.kill(os.getpid(), signal.SIGINT)
                return
            time.sleep(0.05)

    killer = threading.Thread(target=interrupt)
    killer.start()
    words = command("extract", Path("any"), tmp_path / "out", data="shapes", cache_dir=cache)
    ended = call(capfd, *words)
    killer.join()
    assert (ended.code, ended.err) == (130, "pointssl: interrupted\n")
    assert not list(tmp_path.rglob("*.tmp*"))
    assert not (tmp_path / "out").exists()
