"""Tiny runs give the weights and the numbers that they gave.

Bit for bit on a machine of the same kind as one that has recorded (see ``record.py``). Elsewhere
the last bits differ, and mean and deviation of every tensor are compared instead. How far apart two
machines may be was measured by running everything with AVX-512, with AVX2 and with SSE4.2 alone
(in torch, MKL, oneDNN, OpenBLAS and NumPy): matrices and kernels of convolutions differed by 3e-8
at most. Vectors differed by up to 2e-3: a bias before a batch norm has a gradient of rounding
errors, and Adam makes whole steps of it. Losses differed by 1e-5 of their size, and what counts
clouds or points by one of them.
"""

import warnings

import kept_records
import kept_runs
import pytest
import torch

MATRICES, VECTORS = 1e-6, 4e-3
TRAINED = [*kept_runs.PRETRAININGS, *kept_runs.FINETUNINGS, *kept_runs.RESUMED]
HERE, ANYWHERE = kept_records.of_this_machine(), kept_records.of_any_machine()
TENSORS = kept_records.read("tensors")
if HERE is None:
    warnings.warn(
        f"no recording of this machine, {kept_records.signature()}: weights and numbers are "
        "compared to a tolerance instead of bit for bit",
        stacklevel=1,
    )


@pytest.mark.parametrize("name", TRAINED)
def test_weights(place, name):
    folder = place.run(name)
    for file, before in TENSORS[name].items():
        tensors = kept_records.tensors_of(torch.load(folder / file, weights_only=True))
        for key, value in tensors.items():  # the encoder is that of the method
            if key.startswith("encoder."):
                assert torch.equal(value, tensors[f"method.{key}"])
        now = kept_records.fingerprint(tensors)
        assert list(now) == list(before)
        for key, (shape, mean, std) in before.items():
            assert now[key][0] == shape, (file, key)
            tolerance = MATRICES if len(shape) > 1 else VECTORS
            assert now[key][1:] == pytest.approx([mean, std], rel=0, abs=tolerance), (file, key)
        if HERE:
            assert kept_records.sha256(tensors) == HERE["weights"][name][file], file


@pytest.mark.parametrize("name", list(ANYWHERE["numbers"]))
def test_numbers(place, name):
    documents = kept_records.documents(place.run(name))
    for file, before in (HERE or ANYWHERE)["numbers"][name].items():
        found = kept_records.numbers(documents[file])
        now = {path: found.get(path) for path in before}
        if HERE:
            assert now == before, file
            continue
        for path, value in before.items():
            assert now[path] == pytest.approx(value, rel=1e-4, abs=slack(path)), (file, path)


def slack(path):
    """How far a number may be off elsewhere, beside a ten-thousandth of itself."""
    if "/confusion/" in path:
        return 2  # points
    return 1e-5 if "loss" in path or "grad_norm" in path else 0.05
