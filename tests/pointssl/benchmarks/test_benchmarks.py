"""Both sides of a benchmark compute the same, and its output is what was measured."""

import itertools
import json
import math
from functools import partial

import pytest
import torch
from in_process import refused, worked

from pointssl.benchmarks import backbone_costs as bench_backbones
from pointssl.benchmarks import (
    backbones,
    communication,
    loading,
    measuring,
    networks,
    report,
    scale,
    svm,
)
from pointssl.benchmarks.case import Case, Work, as_list, check_equal
from pointssl.benchmarks.floor import Rates, count_operations, floor_seconds, measure_rates
from pointssl.benchmarks.memory import measured_afresh
from pointssl.benchmarks.timing import interleaved, ratios
from pointssl.config.tools import SECTIONS, BenchConfig
from pointssl.ops.backends import BACKENDS, chosen_backend, using
from pointssl.reports.figures.scaling import scale_figure
from pointssl_datasets.base.errors import UsageError

CPU = torch.device("cpu")
RATES = Rates({"float32": 1e10, "float64": 1e9}, 1e9)
CASES = measuring.all_cases(SECTIONS, "quick", CPU)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_both_sides_are_the_same_function(case: Case):
    check_equal(case, CPU)


def test_sides_that_differ_fail_the_check(monkeypatch: pytest.MonkeyPatch):
    twin = networks.TEXTBOOK["dgcnn"]
    monkeypatch.setitem(networks.TEXTBOOK, "dgcnn", lambda encoder, xyz: twin(encoder, xyz * 1.001))
    case = next(case for case in CASES if case.name.startswith("dgcnn train"))
    with pytest.raises(AssertionError, match="dgcnn train"):
        check_equal(case, CPU)
    row = measuring.measure(case, CPU, RATES, 0.0)
    assert "differ" in row["error"]
    assert "ratio" not in row
    assert report.table([row])[2].split()[-1] == "failed"


def test_full_sizes_have_the_goals_and_quick_ones_none():
    assert all(not case.goals for case in CASES)
    full = measuring.all_cases(SECTIONS, "full", CPU)
    wanted = {case.name: case.goals["cpu"] for case in full if case.goals}
    assert wanted["dgcnn train, 8 x 1024"] == 8
    assert wanted["SVM, 9840 x 2048, 40 classes"] == 7
    assert sum("kNN" in name for name in wanted) == 2
    names = [
        case.name for case in measuring.all_cases(("backbones",), "full", torch.device("cuda"))
    ]
    assert "dgcnn eval, bf16, 8 x 1024" in names


def test_a_floor_is_the_larger_of_arithmetic_and_traffic():
    assert floor_seconds(Work(2e10, 1e3), RATES) == 2
    assert floor_seconds(Work(2e10, 5e9), RATES) == 5
    assert floor_seconds(Work(2e9, 0, "float64"), RATES) == 2


def test_rates_are_those_of_the_machine():
    rates = measure_rates(CPU, side=128, megabytes=4)
    assert 1e7 < rates.matrix["float64"] < 1e14
    assert 1e7 < rates.matrix["float32"] < 1e14
    assert 1e7 < rates.copy < 1e13


def test_operations_are_counted():
    a, b = torch.ones(4, 6, requires_grad=True), torch.ones(6, 10)
    assert count_operations(lambda: a @ b) == 2 * 4 * 6 * 10
    assert count_operations(lambda: (a @ b).sum().backward()) == 2 * (2 * 4 * 6 * 10)


def test_operations_of_a_network_grow_with_the_clouds():
    case = next(case for case in CASES if case.name.startswith("dgcnn eval"))
    one, three = (case.work({**case.sizes, "clouds": clouds}) for clouds in (2, 6))
    assert three.operations == 3 * one.operations
    n, widths = 256, [3, 64, 64, 128, 256]
    products = sum(2 * 2 * n * a * b for a, b in itertools.pairwise(widths))
    products += 2 * n * 512 * 1024
    searches = sum(2 * n * n * width for width in widths[:-1])
    assert one.operations == pytest.approx(2 * (products + searches), rel=0.15)


def test_sides_take_turns():
    calls: list[str] = []
    sides = {name: partial(calls.append, name) for name in ("textbook", "ours")}
    times = interleaved(sides, CPU, 0.0, least=4)
    assert calls == ["textbook", "ours"] * 2 + ["ours", "textbook"] + calls[6:]
    assert len(times.wall["ours"]) == len(times.cpu["textbook"]) == 4


def test_ratios_are_medians_and_quartiles_of_the_rounds():
    times = {"textbook": [2.0, 4.0, 6.0], "ours": [1.0, 1.0, 2.0]}
    assert ratios(times) == (3.0, 2.5, 3.5)
    assert ratios({side: values[:1] for side, values in times.items()}) == (2.0, 2.0, 2.0)


def allocate(megabytes: int, device: torch.device) -> int:
    """Measure :func:`added_memory` of an allocation of this many MB."""
    from pointssl.benchmarks.memory import added_memory

    return added_memory(lambda: torch.ones(megabytes << 18).sum(), device)


def test_memory_is_the_peak_of_a_call():
    found = measured_afresh(allocate, CPU, 200)
    assert found == pytest.approx(200 * 1.048576, rel=0.1)


def fail_to_allocate(device: torch.device) -> int:
    raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 5 bytes")


def test_memory_is_nan_if_the_allocation_fails():
    assert math.isnan(measured_afresh(fail_to_allocate, CPU))


def test_a_row_is_consistent():
    case = next(case for case in CASES if case.name.startswith("dgcnn train"))
    row = measuring.measure(case, CPU, RATES, 0.0)
    seconds = row["seconds"]
    low, high = row["ratio_quartiles"]
    assert low <= row["ratio"] <= high
    assert row["rounds"] == 3
    assert row["ratio"] == pytest.approx(seconds["textbook"] / seconds["ours"], rel=1)
    assert row["floor"] == max(row["operations"] / 1e10, row["bytes"] / 1e9)
    assert row["share"] == pytest.approx(row["floor"] / seconds["ours"])
    assert 0 < row["memory"]["ours"] < row["memory"]["textbook"]
    cells = report.table([row])[2].split("  ")
    assert f"{row['ratio']:.1f}x" in [cell.strip() for cell in cells]


def test_goals_are_met_or_missed():
    row = {"ratio": 8.0, "goal": 8, "memory_goal": 0.2, "memory_ratio": 0.21}
    assert report.goal_cell(row) == "8x met, memory 0.2 missed"
    row = {"ratio": 1.0, "goal": None, "memory_goal": None, "data_wait_goal": 0.02}
    row["data_wait"] = {"textbook": 0.3, "ours": 0.031}
    assert report.goal_cell(row) == "waits 3.1% (under 2% missed)"


def test_waiting_is_the_time_between_batches():
    waits: list[float] = []
    assert list(loading.time_waits(iter([{"a": 1}, {"a": 2}]), waits)) == [{"a": 1}, {"a": 2}]
    assert len(waits) == 3  # including the wait for the end


def test_svm_features_are_only_partly_separable():
    given = svm.features(svm.QUICK)
    found = svm._textbook(given["train"], given["train labels"], given["test"])
    assert 0.3 < (found == given["test labels"]).mean() < 1


def test_the_command(tmp_path, capfd):
    out = worked(
        capfd, "bench", "--quick", "--only", "svm", "--threads", "1", "--device", "cpu",
        "--no-progress", "--out", tmp_path,
    )  # fmt: skip
    results = json.loads((tmp_path / "bench.json").read_text())
    assert results["environment"]["torch"] == str(torch.__version__)
    assert results["environment"]["matrix_rate"]["float32"] > 0
    assert [row["section"] for row in results["rows"]] == ["svm"]
    assert results["rows"][0]["same_predictions"] == 1.0
    assert all(row["seconds"]["ours"] > 0 and row["case"] in out for row in results["rows"])
    assert (tmp_path / "bench.txt").read_text().splitlines()[2].split()[0] == "case"
    assert (tmp_path / "bench.png").read_bytes().startswith(b"\x89PNG")


def test_wrong_input_is_one_line(capfd, monkeypatch):
    assert "did you mean 'kernels'" in refused(capfd, 2, "bench", "--only", "kernel").lower()
    assert "choose one" in refused(capfd, 2, "bench", "--quick", "--full")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert "torchrun" in refused(capfd, 2, "bench", "--quick")


def test_sections_are_split_at_commas():
    assert BenchConfig(only="svm, kernels").sections == ("svm", "kernels")
    with pytest.raises(UsageError, match="--scale"):
        BenchConfig(scale=True, only="svm")


def test_cells_larger_than_a_failed_one_are_skipped():
    asked = []

    def run(side, cell):
        asked.append((side, tuple(cell.values())))
        too_many = side == "textbook" and cell["points"] > 1024
        found = {"clouds_per_second": 1e4 / cell["points"], "memory": 2.0}
        return {"outcome": "out of memory"} if too_many else found

    axes = {"points": (512, 1024, 2048, 4096), "clouds": (1, 4)}
    rows = scale.grow(axes, run, lambda _: None)
    assert asked == [
        ("textbook", (512, 4, 1)), ("textbook", (1024, 4, 1)), ("textbook", (2048, 4, 1)),
        ("ours", (512, 4, 1)), ("ours", (1024, 4, 1)), ("ours", (2048, 4, 1)),
        ("ours", (4096, 4, 1)), ("textbook", (1024, 1, 1)), ("ours", (1024, 1, 1)),
    ]  # fmt: skip
    outcomes = [row.get("outcome") for row in rows if row["side"] == "textbook"]
    beyond = ["out of memory", "not tried: out of memory before"]
    assert outcomes == [None, None, *beyond, None, None]
    lines = scale.scale_table(rows)
    assert lines[4].split() == ["points", "2048", "4", "1", "-", "4.88", "-", "-", "2"]
    assert lines[-1] == "- textbook, points 2048, clouds 4, processes 1: out of memory"


def cell(side="ours", points=64, clouds=2, processes=1, gib=4.0, seconds=120.0):
    limits = scale.Limits(int(gib * scale.GIB), seconds)
    sizes = {"points": points, "clouds": clouds, "processes": processes}
    return scale.run_cell(side, sizes, CPU, 1, limits)


def test_a_cell_that_is_too_slow_is_killed():
    assert cell(seconds=0.1) == {"outcome": "too slow"}


def test_a_cell_beyond_its_memory_ends_by_itself():
    assert cell("textbook", points=1024, clouds=4, gib=0.1) == {"outcome": "out of memory"}


def test_cells_of_one_and_two_processes():
    one, two = cell(), cell(processes=2)
    assert one["clouds_per_second"] > 0
    assert two["clouds_per_second"] > 0
    assert two["memory"] > one["memory"] >= 0


def test_scale_is_drawn(tmp_path):
    rows = scale.grow(
        {"points": (64, 128, 256), "processes": (1, 2)},
        lambda side, cell: (
            {"outcome": "too slow"} if (side, cell["points"]) == ("textbook", 256)
            else {"clouds_per_second": 1.0 * cell["processes"], "memory": 3.0}
        ),
        lambda _: None,
    )  # fmt: skip
    scale_figure(rows, "a machine", tmp_path / "scale.png")
    assert (tmp_path / "scale.png").read_bytes().startswith(b"\x89PNG")


def test_table_of_backbones(capsys):
    sizes = ["--clouds", "2", "--points", "64", "--repeats", "1"]
    bench_backbones.main(["--backbone", "dgcnn", *sizes, "--device", "cpu"])
    row = capsys.readouterr().out.splitlines()[-1].split()
    assert row[:3] == ["dgcnn", "2048", "0.62"]
    assert all(float(cell) > 0 for cell in row[3:-1])
    assert float(row[-1]) >= 0  # MB, rounded


def test_a_tensor_or_several():
    one = torch.ones(1)
    assert as_list(one)[0] is one
    assert len(as_list((one, one))) == 2
    assert backbones.cases("quick", True)[1].name == "dgcnn train, bf16, 2 x 256"


def backend_here(device: torch.device) -> int:
    """The number of the backend that was asked for, for :func:`measured_afresh`."""
    return BACKENDS.index(chosen_backend())


def test_fresh_processes_use_the_selected_backend():
    with using("torch"):
        assert measured_afresh(backend_here, CPU) * 1e6 == pytest.approx(BACKENDS.index("torch"))


def test_programs_with_a_table_of_their_own(capfd, monkeypatch):
    calls = {}
    for name, module in (("costs", bench_backbones), ("communication", communication)):
        monkeypatch.setattr(module, "main", lambda words, name=name: calls.update({name: words}))
    config = BenchConfig(only="costs, communication,svm")
    assert (config.sections, config.programs) == (("svm",), ("costs", "communication"))
    worked(capfd, "bench", "--only", "costs,communication", "--threads", "1", "--quick")
    machine = ["--kernels", "auto", "--threads", "1"]
    assert calls["costs"][:6] == [*machine, "--clouds", "2"]
    assert calls["communication"][:6] == [*machine, "--batch", "2"]
