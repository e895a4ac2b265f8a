"""Completion in a real bash: of commands, flags and choices; `--help` shows how to install it."""

import os
import shutil
import subprocess
import sys

import pytest
from processes import ENV

from pointssl.probes import PROBES

SCRIPT = """
eval "$(_POINTSSL_COMPLETE=source_bash pointssl)"
COMP_WORDS=({words})
COMP_CWORD={place}
_pointssl_completion pointssl
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.fixture
def path(tmp_path):
    """A PATH on which `pointssl` is this one."""
    program = tmp_path / "pointssl"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m pointssl "$@"\n')
    program.chmod(0o755)
    return f"{tmp_path}{os.pathsep}{os.environ['PATH']}"


def offered(path, *words):
    """What bash offers when the last of the words, which may be empty, is to be completed."""
    quoted = " ".join(f"'{word}'" for word in words)
    script = SCRIPT.format(words=quoted, place=len(words) - 1)
    done = subprocess.run(
        ["bash", "--norc", "-c", script],
        capture_output=True,
        text=True,
        env={**ENV, "PATH": path},
        timeout=60,
    )
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_commands_flags_and_choices_are_offered(path):
    assert offered(path, "pointssl", "eval-") == [*(f"eval-{name}" for name in PROBES), "eval-all"]
    assert offered(path, "pointssl", "finetune", "") == ["partseg", "cls", "semseg"]
    assert offered(path, "pointssl", "eval-knn", "--neigh") == ["--neighbours"]
    assert offered(path, "pointssl", "pretrain", "--amp", "") == ["off", "bf16", "fp16"]
    assert offered(path, "pointssl", "pretrain", "--batch-size", "a") == ["auto"]
