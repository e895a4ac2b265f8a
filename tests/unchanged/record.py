"""Writes `recorded/`: what the commands are, write and compute today.

Only to be run on purpose, by hand: whatever changes in these recordings breaks something that
users have. They are those of commit 974546b, and hold until a later commit says otherwise.

    PYTHONPATH=.:cli:datasets python tests/unchanged/record.py
    git diff --stat tests/unchanged/recorded

A machine of another kind (torch, NumPy, scikit-learn, processor) computes other last bits. It adds
its own with the code that the recordings are of, which is then compared bit for bit there, too:

    git worktree add --detach /tmp/then 974546b
    PYTHONPATH=/tmp/then:/tmp/then/cli:/tmp/then/datasets python tests/unchanged/record.py machine

Everything runs twice; a number that is another one the second time, as a duration, is left out.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import kept_files
import kept_help
import kept_records
import kept_runs
import numpy as np
import torch

TRAINED = [*kept_runs.PRETRAININGS, *kept_runs.FINETUNINGS, *kept_runs.RESUMED]


Documents = dict[str, dict[str, Any]]


def run_all(folder: Path) -> tuple[Documents, dict[str, Any]]:
    """Name of a run -> the documents that it wrote or printed, and under "" its files.

    Second, what the networks say of fixed clouds.
    """
    place, found = kept_runs.Place(folder), {}
    for name in kept_runs.names():
        print(name, file=sys.stderr)
        out = place.run(name)
        if name in kept_runs.PRINTED:
            found[name] = {"": [], "printed": json.loads(place.printed(name))}
        else:
            files = kept_records.names_of_files(out)
            found[name] = {"": files, **kept_records.documents(out)}
    outputs = kept_files.outputs(folder)
    for name in kept_runs.EXTRACTED:
        for file, features in kept_records.features(place.run(name)).items():
            outputs[f"{name} {file}"] = features
    return found, outputs


def weights(documents: dict[str, Any]) -> dict[str, dict[str, torch.Tensor]]:
    """The tensors of each checkpoint of a run."""
    return {
        file: kept_records.tensors_of(content)
        for file, content in documents.items()
        if file.endswith(".pt")
    }


def numbers_of_both(one: Any, two: Any) -> dict[str, Any]:
    """What was computed alike both times."""
    first, second = kept_records.numbers(one), kept_records.numbers(two)
    for path in first:
        if first[path] != second[path]:
            print(f"  varies: {path}: {first[path]}, {second[path]}", file=sys.stderr)
    return {path: value for path, value in first.items() if second[path] == value}


def record_machine(one: Documents, two: Documents) -> None:
    """Hashes and numbers, to the last bit."""
    hashes, numbers = {}, {}
    for name in TRAINED:
        hashes[name] = {file: kept_records.sha256(t) for file, t in weights(one[name]).items()}
        again = {file: kept_records.sha256(t) for file, t in weights(two[name]).items()}
        assert again == hashes[name], f"{name} gives other weights the second time"
    for name in one:
        numbers[name] = {}
        for file, content in one[name].items():
            path = Path(file)
            if path.suffix in (".json", ".jsonl") and path.name != "environment.json":
                print(f"{name}/{file}", file=sys.stderr)
                numbers[name][file] = numbers_of_both(content, two[name][file])
    kept_records.write(
        kept_records.machine(),
        {
            "signature": kept_records.signature(),
            "weights": hashes,
            "numbers": {name: of_run for name, of_run in numbers.items() if of_run},
        },
    )


def record_all(one: Documents) -> None:
    """Commands, keys, options and tensors."""
    kept_records.write(
        "help", {name: kept_help.flags(command) for name, command in kept_help.commands()}
    )
    keys, options, tensors = {}, {}, {}
    for name, documents in one.items():
        of_run = {
            file: kept_records.keys(kept_records.without_tensors(content))
            for file, content in documents.items()
            if file
        }
        keys[name] = {"files": documents[""], "keys": of_run}
        configs = {file: c for file, c in documents.items() if file.endswith("config.yaml")}
        if configs:
            options[name] = configs
    for name in TRAINED:
        tensors[name] = {f: kept_records.fingerprint(t) for f, t in weights(one[name]).items()}
    kept_records.write("keys", keys)
    kept_records.write("options", options)
    kept_records.write("tensors", tensors)


def main() -> None:
    with tempfile.TemporaryDirectory() as a, tempfile.TemporaryDirectory() as b:
        (one, outputs), (two, _) = run_all(Path(a)), run_all(Path(b))
    record_machine(one, two)
    if sys.argv[1:] != ["machine"]:
        record_all(one)
        np.savez(kept_records.RECORDED / "outputs.npz", **outputs)


if __name__ == "__main__":
    main()
