"""`pointssl doctor`: true statements, and never a failure for what is not there."""

import json
import os
from pathlib import Path

import pytest
import torch
from shared import SHARED, needs_shared
from typer.testing import CliRunner

import pointssl
from pointssl.config.tools import DoctorConfig
from pointssl.recipes import doctor
from pointssl_cli.main import app


def run(*arguments: str, **env: str | None) -> str:
    result = CliRunner().invoke(app, ["doctor", *arguments], env=env, catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def test_facts_are_those_of_this_machine(tmp_path: Path) -> None:
    (tmp_path / "some.bin").write_bytes(b"x" * 3 * 2**20)
    facts = json.loads(run("--json", "--cache-dir", str(tmp_path)))
    assert facts["versions"]["pointssl"] == pointssl.__version__
    assert facts["versions"]["torch"] == torch.__version__
    assert facts["missing"] == []
    assert facts["machine"]["threads of torch"] == str(torch.get_num_threads())
    assert ("gloo" in facts["machine"]["distributed"]) == torch.distributed.is_gloo_available()
    assert ("cuda:0" in facts["machine"]) == torch.cuda.is_available()
    assert facts["cache"] == {"folder": str(tmp_path), "holds": "3.0 MiB", "writable": "yes"}
    assert facts["kernels"]["CPU, float32"] == "numba"


def test_text_says_the_same_as_json(tmp_path: Path) -> None:
    facts = json.loads(run("--json", "--cache-dir", str(tmp_path)))
    text = run("--cache-dir", str(tmp_path))
    for section in facts.values():
        for value in section.values() if isinstance(section, dict) else section:
            assert value in text


def test_what_is_absent_is_an_answer(tmp_path: Path) -> None:
    facts = doctor.run(DoctorConfig(data_root=tmp_path / "no", cache_dir=tmp_path / "new" / "er"))
    assert str(tmp_path / "no") in facts["data"]["folder"]
    assert "does not exist" in facts["data"]["folder"]
    assert facts["cache"]["holds"] == "nothing yet"
    assert facts["cache"]["writable"] == "yes"
    assert not (tmp_path / "new").exists(), "a question must not create folders"

    facts = doctor.run(DoctorConfig(data_root=tmp_path, cache_dir=tmp_path))
    found = {name: said for name, said in facts["data"].items() if name != "folder"}
    assert len(found) >= 3
    assert set(found.values()) == {"not found"}


def test_a_cache_that_is_a_file_is_not_writable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    facts = doctor.run(DoctorConfig(cache_dir=tmp_path / "file" / "cache"))
    assert facts["cache"]["writable"].startswith("no: ")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write")
def test_a_read_only_cache_is_told(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        facts = doctor.run(DoctorConfig(cache_dir=tmp_path))
    finally:
        tmp_path.chmod(0o700)
    assert facts["cache"]["writable"].startswith("no: ")


def test_a_missing_or_broken_package_is_named_with_its_cure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_package.py").write_text("raise ImportError('libcudart.so.9: not found')")
    monkeypatch.syspath_prepend(str(tmp_path))
    packages = {"broken_package": "broken-package", "absent_package": "absent-package"}
    monkeypatch.setattr(doctor, "REQUIRED", packages)
    facts = doctor.run(DoctorConfig())
    assert facts["versions"]["broken-package"].startswith("does not import: ImportError: libcudart")
    assert facts["versions"]["absent-package"] == "not installed"
    assert facts["missing"] == [
        "broken-package: pip install broken-package",
        "absent-package: pip install absent-package",
    ]
    assert "pip install absent-package" in doctor.as_text(facts)


@needs_shared
def test_real_modelnet_is_found_where_the_environment_points() -> None:
    facts = json.loads(run("--json", POINTSSL_DATA=str(SHARED / "data")))
    assert facts["data"]["folder"] == str((SHARED / "data").resolve())
    assert facts["data"]["modelnet10"] == "3991 train, 908 test in 10 classes"
