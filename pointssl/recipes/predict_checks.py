"""What was asked of ``pointssl predict``: told before it starts, or refused."""

from pathlib import Path

from pointssl.config.tools import PredictConfig
from pointssl.inference.listing import Input
from pointssl.inference.network import Network
from pointssl_datasets.base.errors import UsageError
from pointssl_datasets.base.resolve import nearest


def refuse_overwriting(inputs: list[Input], network: Network, out: Path) -> None:
    """Raises UsageError where a result would take the place of one of the files."""
    given = {item.path.resolve() for item in inputs}
    wanted = [out / name for name in ("predictions.npz", "predictions.csv")]
    if network.labels_points:
        wanted += [out / "clouds" / f"{item.name}{suffix}" for item in inputs
                   for suffix in (".ply", ".npz")]  # fmt: skip
    for path in wanted:
        if path.resolve() in given:
            raise UsageError(f"--out {out}: {path} is one of the files to predict; name another")


def describe(
    config: PredictConfig, network: Network, inputs: list[Input], notes: list[str]
) -> None:
    """What is about to happen, and what the user might not expect of it."""
    kind = {"encoder": "embeddings", "cls": "classes"}.get(network.task, "parts")
    for note in (*notes, *_surprises(config, network)):
        print(f"note: {note}")
    seen = f"{network.points} points of each, {config.sampling}, seed {config.seed}"
    if network.task == "semseg":
        size = network.metadata["block_size"]
        seen = f"every point, in overlapping blocks of {size:g} m, seed {config.seed}"
    elif network.task == "partseg":
        seen += f"; the best of {_answers(config, network)}"
    votes = f"; mean of {config.votes} votes" if config.votes > 1 else ""
    print(
        f"{kind} of {len(inputs)} files by {network.metadata['backbone']} "
        f"(k {network.metadata['backbone_args'].get('k', '-')}), {config.weights}; {seen}{votes}",
        flush=True,
    )


def _surprises(config: PredictConfig, network: Network) -> list[str]:
    """Notes on how the files are taken."""
    notes = []
    alone = network.task in ("cls", "partseg") and len(network.classes) == 1
    if alone and config.category is None:
        notes.append(f"the network knows {network.classes[0]} alone: every file is taken for one")
    if network.task == "semseg" and config.up_axis == "y":
        notes.append("files are taken to stand on y; those of S3DIS stand on z (--up-axis z)")
    return notes


def _answers(config: PredictConfig, network: Network) -> str:
    """Which parts can be the answer."""
    if config.category is not None:
        return f"the parts of {config.category} (--category)"
    if answers_freely(config, network):
        return f"all {len(network.parts)} parts (trained with --category none)"
    alone = len(network.classes) == 1
    return f"the parts of {network.classes[0]}" if alone else "the parts of each file's category"


def answers_freely(config: PredictConfig, network: Network) -> bool:
    """Whether any part can be the answer: the network was trained without the category, so the
    name of a folder is not to tell it more than it learnt to be told."""
    return network.task == "partseg" and not network.takes_category and config.category is None


def given_category(config: PredictConfig, network: Network) -> int | None:
    """The number of ``--category``, or None where it is not given.

    Raises:
        UsageError: the network has no such category, or has no use for one.
    """
    if config.category is None:
        return None
    if network.task != "partseg":
        raise UsageError(f"--category {config.category}: this network knows no parts; leave it out")
    lower = [name.casefold() for name in network.classes]
    if config.category.casefold() not in lower:
        known = f"it knows {', '.join(network.classes)}" if network.classes else "it knows none"
        close = nearest(config.category, list(network.classes)) or ""
        raise UsageError(
            f"--category {config.category}: no category of this network; {known}{close}"
        )
    return lower.index(config.category.casefold())
