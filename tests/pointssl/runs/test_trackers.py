"""What is tracked of each epoch, and what a run that goes on keeps of it."""

import pytest

from pointssl.runs.trackers import Trackers, read_metrics
from pointssl_datasets.base.errors import UserError


def scalars(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return {event.step: event.value for event in events.Scalars("loss")}


def test_rows_are_in_the_table_and_in_tensorboard(tmp_path):
    with Trackers(tmp_path, 0) as trackers:
        trackers.log({"epoch": 1, "loss": 2.5, "said": "text"})
        trackers.log({"epoch": 2, "loss": 1.5})
    assert read_metrics(tmp_path) == [
        {"epoch": 1, "loss": 2.5, "said": "text"},
        {"epoch": 2, "loss": 1.5},
    ]
    assert scalars(tmp_path / "tensorboard") == {1: 2.5, 2: 1.5}


def test_a_continued_run_drops_what_came_after_its_checkpoint(tmp_path):
    with Trackers(tmp_path, 0) as trackers:
        for epoch in (1, 2, 3):
            trackers.log({"epoch": epoch, "loss": 1.0 * epoch})
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"epoch": 4, "lo')
    assert len(read_metrics(tmp_path)) == 3
    with Trackers(tmp_path, 2) as again:
        again.log({"epoch": 3, "loss": 30.0})
    assert [row["loss"] for row in read_metrics(tmp_path)] == [1.0, 2.0, 30.0]
    assert scalars(tmp_path / "tensorboard") == {1: 1.0, 2: 2.0, 3: 30.0}


def test_other_ranks_track_nothing(tmp_path):
    with Trackers(tmp_path / "run", 0, is_main=False) as trackers:
        trackers.log({"epoch": 1, "loss": 1.0})
    assert not (tmp_path / "run").exists()


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "run").write_text("a file")
    with pytest.raises(UserError, match=r"could not write .*metrics\.jsonl"):
        Trackers(tmp_path / "run", 0)


def test_a_run_without_metrics_has_none(tmp_path):
    assert read_metrics(tmp_path) == []
