"""The arithmetic of `python -m pointssl.benchmarks.communication`."""

import argparse

import pytest

from pointssl.benchmarks.communication import main, reduce_seconds, report, shares


def test_a_ring_sends_every_byte_almost_twice():
    assert reduce_seconds(1, 1e9, 1e9, 1.0) == 0
    assert reduce_seconds(2, 1e9, 1e9, 0.0) == pytest.approx(1.0)
    assert reduce_seconds(64, 1e9, 1e9, 0.0) == pytest.approx(2 * 63 / 64)
    assert reduce_seconds(8, 0, 1e9, 1e-3) == pytest.approx(14e-3)


def test_shares_of_exposed_and_hidden_communication():
    found = {"step": 1.1, "apart": 1.0, "sum": 0.4}
    exposed, hidden = shares(found)
    assert (exposed, hidden) == (pytest.approx(0.1), pytest.approx(0.75))
    assert shares({**found, "apart": 1.2}) == (0, 1)
    assert shares({**found, "apart": 0.2})[1] == 0


def test_the_table_has_all_sizes():
    asked = argparse.Namespace(
        backbone="dgcnn", images=False, batch=4, points=64, threads=1, processes=2,
        gbit=8.0, latency_us=0.0,
    )  # fmt: skip
    alone = {"step": 1.0, "apart": 1.0, "sum": 0.0, "gradients": 10**9, "embeddings": 0}
    both = {**alone, "step": 1.25, "sum": 0.5}
    rows = [line.split() for line in report(alone, both, asked).splitlines()[5:]]
    assert [row[0] for row in rows] == ["1", "2", "8", "8", "64", "64"]
    assert rows[1][1:4] == ["1.2500", "6.4", "80.0%"]
    assert rows[2][1] == "2.7500"  # 1 + 2 * 7/8 of a second
    assert rows[3][1] == "1.8750"  # half of which is hidden


@pytest.mark.parametrize("words", [["--processes", "1"], ["--steps", "0"], ["--batch", "many"]])
def test_usage_errors_name_the_option(capsys, words):
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 2
    assert words[0] in capsys.readouterr().err
