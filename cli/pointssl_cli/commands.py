"""Every command of the program: its options, and the recipe that it runs.

The help of a command is the docstring of its config class. A recipe is imported when its command
runs, so that `--help` waits for nothing heavy.
"""

import importlib
from typing import Any, NamedTuple

import typer

from pointssl.config.data import (
    CheckConfig,
    ConvertConfig,
    DownloadConfig,
    ListConfig,
    RenderConfig,
    ShowConfig,
)
from pointssl.config.evaluate import EvalAllConfig, ExtractConfig
from pointssl.config.finetune import FinetuneClsConfig, FinetunePartsegConfig, FinetuneSemsegConfig
from pointssl.config.options import Options
from pointssl.config.pretrain import PretrainConfig
from pointssl.config.tools import (
    BenchConfig,
    DemoConfig,
    DoctorConfig,
    ExportConfig,
    ImportConfig,
    InspectConfig,
    ListPartsConfig,
    PredictConfig,
    ZooConfig,
)
from pointssl.probes import PROBES
from pointssl.probes.build import eval_config
from pointssl_cli.options import command_options


class Command(NamedTuple):
    """What a command is made of.

    Attributes:
        config: the dataclass of its options; its docstring is the help.
        recipe: ``"module:function"`` that takes a config. What it returns is ignored, but for an
            attribute ``exit_code``.
    """

    config: type[Options]
    recipe: str


RECIPES = {  # of probes that have one of their own
    "svm": "pointssl.recipes.eval_svm:run",
    "fewshot": "pointssl.recipes.fewshot:run",
}


def commands() -> dict[str, Command]:
    """The commands by name, in the order of the help; ``"data list"`` is one of a group."""
    evaluations = {
        f"eval-{name}": Command(
            eval_config(name), RECIPES.get(name, "pointssl.recipes.evaluate:run")
        )
        for name in PROBES
    }
    return {
        "pretrain": Command(PretrainConfig, "pointssl.recipes.pretrain:run"),
        "extract": Command(ExtractConfig, "pointssl.recipes.extract:run"),
        **evaluations,
        "eval-all": Command(EvalAllConfig, "pointssl.recipes.eval_all:run"),
        "inspect": Command(InspectConfig, "pointssl.recipes.inspect:run"),
        "predict": Command(PredictConfig, "pointssl.recipes.predict:run"),
        "export": Command(ExportConfig, "pointssl.recipes.export:run"),
        "import": Command(ImportConfig, "pointssl.recipes.import_weights:run"),
        "zoo": Command(ZooConfig, "pointssl.recipes.zoo:run"),
        "list": Command(ListPartsConfig, "pointssl.recipes.list:run"),
        "finetune partseg": Command(FinetunePartsegConfig, "pointssl.recipes.finetune.partseg:run"),
        "finetune cls": Command(FinetuneClsConfig, "pointssl.recipes.finetune.cls:run"),
        "finetune semseg": Command(FinetuneSemsegConfig, "pointssl.recipes.finetune.semseg:run"),
        "data list": Command(ListConfig, "pointssl.recipes.data.list:main"),
        "data download": Command(DownloadConfig, "pointssl.recipes.data.download:main"),
        "data check": Command(CheckConfig, "pointssl.recipes.data.check:main"),
        "data convert": Command(ConvertConfig, "pointssl.recipes.data.convert:main"),
        "data render": Command(RenderConfig, "pointssl.recipes.data.render:main"),
        "data show": Command(ShowConfig, "pointssl.recipes.data.show:main"),
        "demo": Command(DemoConfig, "pointssl.recipes.demo:run"),
        "bench": Command(BenchConfig, "pointssl.recipes.bench:run"),
        "doctor": Command(DoctorConfig, "pointssl.recipes.doctor:main"),
    }


GROUPS = {
    "finetune": "Fine-tune an encoder, or train it from scratch.",
    "data": "Get datasets, look at them, check them, convert them.",
}


def add_commands(app: typer.Typer) -> None:
    """Give the program all :func:`commands`."""
    groups = {"": app} | {name: _group(help) for name, help in GROUPS.items()}
    for name, command in commands().items():
        group, _, own = name.rpartition(" ")
        groups[group].command(own)(_function(command))
    for name in GROUPS:
        app.add_typer(groups[name], name=name)


def _group(help: str) -> typer.Typer:
    """A group of commands, which called alone shows its help."""
    group = typer.Typer(help=help)

    @group.callback(invoke_without_command=True, help=help)
    def alone(context: typer.Context) -> None:
        if context.invoked_subcommand is None:
            typer.echo(context.get_help())

    return group


def _function(command: Command) -> Any:
    """The function that Typer shows as a command."""

    def run(config: Any) -> None:
        module, _, function = command.recipe.partition(":")
        result = getattr(importlib.import_module(module), function)(config)
        code = getattr(result, "exit_code", 0)
        if code:
            raise typer.Exit(code)

    run.__doc__ = command.config.__doc__
    return command_options(command.config)(run)
