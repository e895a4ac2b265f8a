"""`pointssl zoo`: the public checkpoints that every ``--weights`` takes."""

import json
import textwrap
from typing import Any

from pointssl.checkpoints.zoo import families
from pointssl.config.tools import ZooConfig


def run(config: ZooConfig) -> list[dict[str, Any]]:
    """Print what is known of each family, as text or as JSON, and return it."""
    entries = known_families()
    print(json.dumps(entries, indent=2) if config.json else as_text(entries))
    return entries


def known_families() -> list[dict[str, Any]]:
    """Plain values of each family, see :class:`pointssl.checkpoints.zoo.family.Family`."""
    names = ("name", "title", "source", "backbone", "trained_on", "labels", "published", "measured")
    return [
        {
            **{name: getattr(family, name) for name in names},
            "recipe": {**family.recipe, **family.serve},
            "refused": family.refused,
        }
        for family in families()
    ]


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
