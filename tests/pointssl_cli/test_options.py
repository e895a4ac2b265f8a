"""Flags made from a dataclass: types, precedence, and what help shows."""
# ruff: noqa: RUF009 - `option` makes a dataclasses.field, which ruff can't see

import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

import pytest
import typer
from typer.testing import CliRunner

from pointssl.config.data import CheckConfig, ConvertConfig, RenderConfig, ShowConfig
from pointssl.config.evaluate import ExtractConfig
from pointssl.config.finetune import FinetunePartsegConfig
from pointssl.config.options import Options, make, option, to_dict
from pointssl.config.pretrain import PretrainConfig
from pointssl.probes.build import eval_config
from pointssl_cli.options import command_options, signature
from pointssl_datasets.base.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Every(Options):
    """One option of every type there is."""

    count: int = option(3, "How many.", "Numbers", low=1)
    c: float | None = option(None, "One letter.", "Numbers")
    batch_size: int | None = option(None, "Two words.", "Numbers")
    name: str = option("x", "A word.", "Words")
    mode: Literal["off", "fast", "slow"] = option("off", "A choice.", "Words")
    maybe: Literal["a", "b"] | None = option(None, "A choice or nothing.", "Words")
    several: tuple[str, ...] = option((), "Repeatable.", "Words")
    place: Path = option(Path("here"), "A path.", "Words")
    where: Path | None = option(None, "A path or nothing.", "Words")
    ready: bool = option(True, "On.", "Switches")
    strange: bool = option(False, "Off.", "Switches")
    depends: bool | None = option(None, "Neither.", "Switches")


@dataclass(frozen=True, kw_only=True)
class Named(Options):
    """An argument that must be given, and an option by another name than its field's."""

    name: str = option(..., "Which one.", "Options", positional=True)
    archive: tuple[Path, ...] = option((), "Where from.", "Options", flag="--from")


def run(*arguments: str, cls: type[Options] = Every) -> Options:
    """The config that a command gets for these arguments."""
    seen: list[Options] = []
    app = typer.Typer(add_completion=False)

    @app.command()
    @command_options(cls)
    def command(config: Options) -> None:
        seen.append(config)

    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return seen[0]


def test_nothing_given_is_the_defaults() -> None:
    assert run() == Every()


def test_every_type_is_parsed() -> None:
    text = (
        "--count 5 --c 0.5 --batch-size 8 --name off --mode fast --maybe b --several k=1 "
        "--several k=2 --place a/b --where c --no-ready --strange --no-depends"
    )
    got = run(*text.split())
    assert got == Every(
        count=5,
        c=0.5,
        batch_size=8,
        name="off",
        mode="fast",
        maybe="b",
        several=("k=1", "k=2"),
        place=Path("a/b"),
        where=Path("c"),
        ready=False,
        strange=True,
        depends=False,
    )
    assert run("--no-strange", "--ready", "--depends") == Every(depends=True)


def test_given_flags_beat_the_file_even_where_they_equal_the_default(tmp_path: Path) -> None:
    file = tmp_path / "options.yaml"
    file.write_text("count: 9\nready: false\nseveral: [a, b]\nmode: slow\nname: file\n")
    config = run("--config", str(file), "--count", "3", "--ready", "--name", "x")
    assert config == Every(several=("a", "b"), mode="slow")


def test_an_argument_without_a_flag(tmp_path: Path) -> None:
    assert run("it", "--from", "a", "--from", "b/c", cls=Named) == Named(
        name="it", archive=(Path("a"), Path("b/c"))
    )
    file = tmp_path / "options.yaml"
    file.write_text("name: filed\narchive: [a]\n")
    filed = run("--config", str(file), cls=Named)
    assert filed == Named(name="filed", archive=(Path("a"),))
    assert make(Named, to_dict(filed)) == filed
    with pytest.raises(UsageError, match=r"^NAME is missing: Which one\.$"):
        run("--from", "a", cls=Named)


def test_errors_are_the_configs() -> None:
    with pytest.raises(UsageError, match=r"--count 0: must be at least 1"):
        run("--count", "0")
    with pytest.raises(UsageError, match=r"--mode 'fas': choose one of off, fast, slow, did you"):
        run("--mode", "fas")
    with pytest.raises(UsageError, match=r"--config absent.yaml: No such file"):
        run("--config", "absent.yaml")


COMMANDS = [
    PretrainConfig,
    ExtractConfig,
    eval_config("svm"),
    eval_config("fewshot"),
    FinetunePartsegConfig,
    RenderConfig,
    CheckConfig,
    ConvertConfig,
]


@pytest.mark.parametrize("cls", [*COMMANDS, ShowConfig])
def test_help_shows_every_option_with_default_meaning_and_group(cls: type[Options]) -> None:
    app = typer.Typer(add_completion=False)

    @app.command()
    @command_options(cls)
    def command(config: Options) -> None:
        """Do it."""

    wide = {"COLUMNS": "400", "TERMINAL_WIDTH": "400", "NO_COLOR": "1"}
    text = CliRunner().invoke(app, ["--help"], env=wide, color=False).output
    lines = text.splitlines()
    for field in fields(cls):
        flag = re.compile(r"^[│\s*]*--" + field.name.replace("_", "-") + r"\s")
        (line,) = [line for line in lines if flag.search(line)]
        assert field.metadata["help"] in line
        shown = f"[default: {field.default}]"
        if isinstance(field.default, bool):
            no = "" if field.default else "no-"
            shown = f"[default: {no}{field.name.replace('_', '-')}]"
        if field.default is None or field.default == ():
            assert "[default: " not in line
        else:
            assert shown in line
        assert any(field.metadata["group"] in line for line in lines if "─" in line)


def test_short_help_names_the_type() -> None:
    kinds = {p.name: p.annotation for p in signature(Every).parameters.values()}
    assert list(kinds)[:2] == ["context", "config_file"]
    assert list(kinds)[2:] == [field.name for field in fields(Every)]
    assert kinds["mode"].__metadata__[0].metavar == "off|fast|slow"
    assert kinds["count"].__origin__ is int
    assert kinds["several"].__origin__ == list[str]
