"""Whether two run folders hold the same run."""

import torch

from pointssl.checkpoints.file import load_checkpoint
from pointssl.runs.trackers import read_metrics

TIMES = ("seconds_per_step", "data_wait")


def last(run_dir):
    return run_dir / "checkpoints" / "last.pt"


def leaves(value, name=""):
    """Everything in a checkpoint, by its place in it."""
    if isinstance(value, dict):
        return {k: v for key in value for k, v in leaves(value[key], f"{name}/{key}").items()}
    if isinstance(value, (list, tuple)):
        return leaves(dict(enumerate(value)), name)
    return {name: value}


def assert_same_run(run_dir, other):
    """Weights, optimiser, random state bit by bit; metrics apart from times."""
    parts = ("method", "encoder", "optimizer", "scaler", "progress", "random", "facts")
    found, expected = load_checkpoint(last(run_dir)), load_checkpoint(last(other))
    found, expected = (leaves({part: c[part] for part in parts}) for c in (found, expected))
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        same = torch.equal(found[name], value) if torch.is_tensor(value) else found[name] == value
        assert same, name
    rows, others = (
        [{k: v for k, v in row.items() if k not in TIMES} for row in read_metrics(folder)]
        for folder in (run_dir, other)
    )
    assert rows == others
    assert len(rows) > 1
