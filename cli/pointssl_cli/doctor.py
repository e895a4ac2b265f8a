"""`pointssl doctor`."""

import json
from typing import Any

import typer

from pointssl.config.tools import DoctorConfig
from pointssl_cli.options import command_options


@command_options(DoctorConfig)
def doctor(config: DoctorConfig) -> None:
    """Say what is installed, found and writable here, and what is missing."""
    from pointssl.recipes import doctor as recipe

    facts = recipe.run(config)
    typer.echo(json.dumps(facts, indent=2) if config.json else as_text(facts))


def as_text(facts: dict[str, Any]) -> str:
    """A section per entry of ``facts``: mappings as aligned lines, lists as bullets."""
    lines: list[str] = []
    for title, content in facts.items():
        lines += ["", title.replace("_", " ").capitalize()]
        if isinstance(content, dict):
            width = max(map(len, content), default=0)
            lines += [f"  {key:<{width}}  {value}" for key, value in content.items()]
        else:
            lines += [f"  - {item}" for item in content] or ["  nothing"]
    return "\n".join(lines[1:])
