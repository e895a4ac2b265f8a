"""Options from YAML and flags: what wins, what is refused, and that nothing is lost on disk."""

import dataclasses
import importlib
import inspect
import pkgutil
from pathlib import Path
from typing import Any

import pytest
import yaml

import pointssl.config
from pointssl.config.data import DownloadConfig
from pointssl.config.evaluate import ExtractConfig
from pointssl.config.finetune import FinetuneClsConfig
from pointssl.config.options import Options, make, to_dict, to_yaml
from pointssl.config.pretrain import PretrainConfig
from pointssl.config.tools import ExportConfig, ImportConfig, InspectConfig, PredictConfig
from pointssl.probes import PROBES
from pointssl.probes.build import eval_config
from pointssl_datasets.base.errors import UsageError

MODULES = [
    importlib.import_module(f"pointssl.config.{module.name}")
    for module in pkgutil.iter_modules(pointssl.config.__path__)
]
CONFIGS = [
    cls
    for module in MODULES
    for name, cls in inspect.getmembers(module, inspect.isclass)
    if cls.__module__ == module.__name__ and issubclass(cls, Options) and name.endswith("Config")
]
CONFIGS += [eval_config(name) for name in PROBES]


NEEDED: dict[type[Options], dict[str, object]] = {  # options without a default
    DownloadConfig: {"name": "shapes"},
    PredictConfig: {"files": ("a.ply",), "weights": Path("model.pt")},
    ExportConfig: {"weights": Path("model.pt"), "out": Path("model.onnx")},
    ImportConfig: {"path": Path("model.pth"), "out": Path("model.pt")},
    InspectConfig: {"backbone": "dgcnn"},
}


def write(folder: Path, text: str) -> Path:
    path = folder / "options.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_all_commands_are_covered() -> None:
    assert len(CONFIGS) >= 22


@pytest.mark.parametrize("cls", CONFIGS)
def test_defaults_are_valid_and_survive_the_disk(cls: type[Options], tmp_path: Path) -> None:
    config = make(cls, NEEDED.get(cls, {}))
    assert make(cls, {}, write(tmp_path, to_yaml(config))) == config
    for field in dataclasses.fields(cls):
        assert field.metadata["help"].endswith((".", "?")), field.name
        assert field.metadata["group"], field.name


def test_values_survive_the_disk(tmp_path: Path) -> None:
    config = PretrainConfig(
        data_root=Path("some where"),
        backbone_arg=("width=64", "name=off"),
        lr=1e-7,
        amp="off",
        clip_grad=10,
        normals=True,
        up_axis="y",
        size=12,
    )
    again = make(PretrainConfig, {}, write(tmp_path, to_yaml(config)))
    assert again == config
    assert isinstance(again.data_root, Path)
    assert again.backbone_arg == ("width=64", "name=off")
    assert isinstance(again.clip_grad, float)
    assert to_dict(again)["backbone_arg"] == ["width=64", "name=off"]


def test_flag_beats_file_beats_default(tmp_path: Path) -> None:
    file = write(tmp_path, "batch-size: 64\nepochs: 7\nlr: 1e-4\nfreeze_image: true\n")
    config = make(PretrainConfig, {"epochs": 3, "freeze_image": False}, file)
    assert (config.epochs, config.batch_size, config.lr) == (3, 64, 1e-4)
    assert config.freeze_image is False
    assert config.momentum == 0.9


@pytest.mark.parametrize("text", ["", "# nothing\n", "amp: off\n", 'amp: "off"\n'])
def test_off_and_empty_files(tmp_path: Path, text: str) -> None:
    assert make(PretrainConfig, {}, write(tmp_path, text)).amp == "off"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("bacth_size: 4", r"unknown option 'bacth_size', did you mean 'batch_size'\?"),
        ("batch_size: many", r"--batch-size 'many': expected a whole number or auto"),
        ("points: many", r"--points 'many': expected int, got str"),
        ("batch_size: 2.5", r"--batch-size 2.5: expected int, got float"),
        ("batch_size: true", r"--batch-size True: expected int, got bool"),
        ("batch_size: null", r"--batch-size None: expected int, got NoneType"),
        ("batch_size: 1", r"--batch-size 1: must be at least 2"),
        ("momentum: 1.5", r"--momentum 1.5: must be at least 0 and at most 1"),
        ("lr: fast", r"--lr 'fast': expected float"),
        ("lr: .nan", r"--lr nan: must be finite"),
        ("lr: .inf", r"--lr inf: must be finite"),
        ("normals: 1", r"--normals 1: expected bool, got int"),
        ("amp: bf61", r"--amp 'bf61': choose one of off, bf16, fp16, did you mean 'bf16'\?"),
        ("amp: on", r"--amp True: choose one of off, bf16, fp16"),
        ("backbone_arg: a=1", r"--backbone-arg 'a=1': expected a list of strings"),
        ("backbone_arg: [1]", r"--backbone-arg \[1\]: expected a list of strings"),
        ("run_dir: 3", r"--run-dir 3: expected Path, got int"),
        ("- a\n- b", r"expected `option: value` lines, got list"),
        ("lr: [1", r"not plain YAML"),
        ("lr: 1\n\tx: 2", r"not plain YAML"),
    ],
)
def test_bad_files_name_the_file_and_the_cure(tmp_path: Path, text: str, said: str) -> None:
    file = write(tmp_path, text)
    with pytest.raises(UsageError, match=said) as caught:
        make(PretrainConfig, {"epochs": 3}, file)
    assert str(caught.value).startswith(f"--config {file}: ")
    assert "\n" not in str(caught.value)


def test_yaml_builds_no_objects(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    text = f"lr: !!python/object/apply:os.mkdir ['{trap}']\n"
    with pytest.raises(UsageError, match="not plain YAML"):
        make(PretrainConfig, {}, write(tmp_path, text))
    assert not trap.exists()
    # The same text is live for a loader that builds objects: the test would notice.
    yaml.unsafe_load(text)
    assert trap.exists()


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        make(PretrainConfig, {}, tmp_path / "absent.yaml")
    with pytest.raises(UsageError, match="Is a directory"):
        make(PretrainConfig, {}, tmp_path)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(UsageError, match="not plain YAML"):
        make(PretrainConfig, {}, tmp_path / "binary.yaml")


@pytest.mark.parametrize(
    ("cls", "given", "said"),
    [
        (PretrainConfig, {"temperature": 0.0}, "--temperature 0.0: must be at least 0.0001"),
        (PretrainConfig, {"lr": float("nan")}, "--lr nan: must be finite"),
        (eval_config("svm"), {"c": 0.0}, "--c 0.0: must be at least 1e-09"),
        (eval_config("svm"), {"c": float("inf")}, "--c inf: must be finite"),
        (ExtractConfig, {"turn": "so2"}, "--turn 'so2': choose one of none, up, so3, did you"),
    ],
)
def test_bad_flags(cls: type[Options], given: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        make(cls, given)
    assert str(caught.value).startswith(said)


def test_a_config_does_not_change() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        PretrainConfig().lr = 1.0  # type: ignore[misc]


@pytest.mark.parametrize("config", [PretrainConfig, FinetuneClsConfig])
def test_a_run_may_be_continued_with_other_values_of_these(config):
    free = {f.name for f in dataclasses.fields(config) if not f.metadata["changes_results"]}
    machine = {"device", "threads", "kernels", "progress", "workers", "checkpoint_activations"}
    places = {"run_dir", "cache_dir", "data_root", "resume", "save_every", "max_time"}
    own = {"image_cache", "probe_root"} if config is PretrainConfig else {"pictures", "votes"}
    assert free == machine | places | own
