"""Every `pointssl ...` line of the documentation is a command that the program takes.

Each is parsed and checked as the program would, up to the moment when it would run. In a line,
`[...]` is optional, `[A | B]` a choice, `...` further options, and what follows `#` a remark.
"""

import contextlib
import itertools
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

import pointssl_cli.options
from pointssl_cli.main import app

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])


class Understood(BaseException):
    """The command's options are complete and valid; it would run now."""


def lines_of(page: Path) -> Iterator[str]:
    """The command lines in the blocks of a page and in its running text."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    blocks = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.M | re.S)
    for language, block in blocks.findall(text):
        if language in ("", "console", "bash", "sh"):
            yield from re.findall(r"^(?:\$ )?((?:torchrun .*-m )?pointssl .*)$", block, re.M)
    for inline in re.findall(r"`((?:[^`\n]|\n(?!\n))+)`", blocks.sub("", text)):
        if re.match(r"pointssl [a-z]", inline) and "NAME" not in inline.split()[1]:
            yield " ".join(inline.replace("\\|", "|").split())


def spellings(line: str) -> list[list[str]]:
    """Arguments of every command that a line stands for."""
    line = re.sub(r"\s#.*$", "", line)
    line = re.sub(r"(--(?:weights|data-root)) \.\.\.", r"\1 PATH", line).replace("...", "")
    line = re.sub(r"^torchrun .*-m ", "", line).removeprefix("pointssl ")
    parts = re.split(r"\[(--[^\]]*)\]", line)
    choices = [part.split(" | ") if place % 2 else [part] for place, part in enumerate(parts)]
    return [shlex.split(" ".join(choice)) for choice in itertools.product(*choices)]


def understand(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Parse and check a command as the program does; anything wrong raises."""
    make = pointssl_cli.options.make

    def stop(*given: Any) -> None:
        make(*given)
        raise Understood

    monkeypatch.setattr(pointssl_cli.options, "make", stop)
    with contextlib.suppress(Understood):
        get_command(app).main(arguments, prog_name="pointssl", standalone_mode=False)


TORCHRUN = {f"--{flag}" for flag in ("help", "nproc-per-node", "nnodes", "node-rank", "local-addr")}
TORCHRUN |= {f"--{flag}" for flag in ("master-addr", "master-port", "rdzv-backend", "rdzv-conf")}
OTHERS = TORCHRUN | {"--signal", "--gbit", "--latency-us"}  # of sbatch and of a benchmark
COMMANDS = sorted({(page.name, line) for page in PAGES for line in lines_of(page)})


def test_commands_are_found() -> None:
    assert len(COMMANDS) > 50
    assert {"README.md", "usage.md", "results.md"} <= {page for page, _ in COMMANDS}


@pytest.mark.parametrize(("page", "line"), COMMANDS)
def test_the_program_takes_it(page: str, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if line == "pointssl inspect":  # the name of the command; alone it asks for an encoder
        return
    for arguments in spellings(line):
        understand(arguments, monkeypatch)


def test_flags_in_the_text_exist() -> None:
    known = set()
    waiting = [get_command(app)]
    while waiting:
        command: Any = waiting.pop()
        waiting += getattr(command, "commands", {}).values()
        for parameter in command.params:
            known |= {*parameter.opts, *parameter.secondary_opts}
    known |= OTHERS
    for page in PAGES:
        text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
        for flag in re.findall(r"`(--[a-z][a-z-]*)", text):
            assert flag in known, f"{page.name}: {flag}"


def test_the_batch_script_passes_options_on() -> None:
    script = (ROOT / "docs/examples/pretrain.sbatch").read_text(encoding="utf-8")
    assert script.rstrip().endswith('-m pointssl pretrain "$@"')


@pytest.mark.parametrize(
    "arguments", [["pretrain", "--epoch", "3"], ["pretrain", "--batch-size", "0"]]
)
def test_wrong_commands_are_noticed(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Exception, match=r"epoch|batch"):
        understand(arguments, monkeypatch)
