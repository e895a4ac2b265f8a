"""The benchmark compares like with like, and its table has a number in every place."""

import pytest
import torch

from pointssl import bench, bench_backbones

CPU = torch.device("cpu")


@pytest.mark.parametrize("network", bench.TEXTBOOK)
def test_both_sides_are_the_same_function(network: str):
    bench.check_equal(network, CPU)


def test_a_wrong_side_is_noticed(monkeypatch: pytest.MonkeyPatch):
    twin = bench.TEXTBOOK["dgcnn"]
    monkeypatch.setitem(bench.TEXTBOOK, "dgcnn", lambda encoder, xyz: twin(encoder, xyz * 1.001))
    with pytest.raises(AssertionError, match="dgcnn"):
        bench.check_equal("dgcnn", CPU)


def test_a_row():
    row = bench.table_row(bench.Case("dgcnn", "train", 2, 256), 1, CPU).split()
    assert row[:4] == ["dgcnn", "train", "2", "256"]
    numbers = [float(cell.rstrip("x")) for cell in row[4:]]
    assert len(numbers) == 8
    assert all(number > 0 for number in numbers)
    textbook, ours = numbers[4:6]  # MB
    assert ours < textbook


def test_table_of_backbones(capsys):
    sizes = ["--clouds", "2", "--points", "64", "--repeats", "1"]
    bench_backbones.main(["--backbone", "dgcnn", *sizes, "--device", "cpu"])
    row = capsys.readouterr().out.splitlines()[-1].split()
    assert row[:3] == ["dgcnn", "2048", "0.62"]
    assert all(float(cell) > 0 for cell in row[3:-1])
    assert float(row[-1]) >= 0  # MB, rounded
