"""`pointssl import` and `pointssl zoo`."""

import json
import textwrap
from typing import Any

import typer

from pointssl.config.zoo import ImportConfig, ZooConfig
from pointssl_cli.options import command_options


@command_options(ImportConfig)
def import_weights(config: ImportConfig) -> None:
    """Turn another project's checkpoint into one of ours: the encoder, and what it needs."""
    from pointssl.recipes import import_weights as recipe

    recipe.run(config)


@command_options(ZooConfig)
def zoo(config: ZooConfig) -> None:
    """List the public checkpoints that every --weights takes, and what is known of them."""
    from pointssl.recipes import import_weights as recipe

    entries = recipe.zoo()
    typer.echo(json.dumps(entries, indent=2) if config.json else as_text(entries))


def as_text(entries: list[dict[str, Any]]) -> str:
    """A paragraph for each family."""
    lines: list[str] = []
    for entry in entries:
        recipe = ", ".join(f"{name} {value}" for name, value in entry["recipe"].items())
        facts = {
            "from": entry["source"],
            "loads into": f"{entry['backbone']} ({recipe})" if recipe else entry["backbone"],
            "trained on": entry["trained_on"]
            + (f", with labels: {entry['labels']}" if entry["labels"] else ""),
            "published": entry["published"] or "-",
            "measured": entry["measured"],
        }
        if entry["refused"]:
            facts = {"from": entry["source"], "not loaded": entry["refused"]}
        lines += ["", *textwrap.wrap(f"{entry['name']}: {entry['title']}", 100)]
        for name, text in facts.items():
            label = f"  {name:<11}"
            lines += textwrap.wrap(
                text, 100, initial_indent=label, subsequent_indent=" " * len(label),
                break_long_words=False, break_on_hyphens=False,
            )  # fmt: skip
    return "\n".join(lines[1:])
