"""No command and no flag goes away, takes another kind of value or has another default."""

import subprocess
import sys

import kept_help
import pytest
from kept_records import read
from kept_runs import call

COMMANDS = dict(kept_help.commands())
RECORDED = read("help")
# Their defaults are the method's, auto or none on the command line. What they come to is held by
# the run "defaults" in test_written_keys.py and test_tiny_runs.py.
OF_THE_METHOD = {
    ("pretrain", f"--{name}")
    for name in ("temperature", "within-weight", "cross-weight", "projection", "augment", "rotate",
                 "image-encoder")
}  # fmt: skip


@pytest.mark.parametrize("name", list(RECORDED))
def test_flags(name, tmp_path):
    assert name in COMMANDS, f"pointssl {name} is gone"
    flags = kept_help.flags(COMMANDS[name])
    for flag, before in RECORDED[name].items():
        assert flag in flags, f"pointssl {name} {flag} is gone"
        now = flags[flag]
        assert same_kind(before["takes"], now["takes"]), (flag, before, now)
        assert now["repeated"] == before["repeated"], flag
        decided_later = (name, flag) in OF_THE_METHOD and now["default"] in (None, "auto")
        assert now["default"] == before["default"] or decided_later, flag
    ended = call(tmp_path, f"{name} --help")
    assert (ended.code, ended.err) == (0, "")
    assert "Usage: pointssl" in ended.out


def same_kind(before, now):
    """Further choices may be added, and any text may be allowed."""
    if "|" in before:
        return now == "str" or set(before.split("|")) <= set(now.split("|"))
    return before == now


def test_the_program_is_a_module():
    words = [sys.executable, "-m", "pointssl", "--version"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("pointssl ")
