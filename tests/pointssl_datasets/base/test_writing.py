"""A file is whole or not there."""

from pathlib import Path

import pytest

from pointssl_datasets.base.errors import UserError
from pointssl_datasets.base.writing import (
    read_json,
    whole_file,
    write_file,
    write_json,
    write_text,
)


def half_written(path):
    with whole_file(path) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError


def fill_the_disk(path):
    with whole_file(path) as temporary:
        temporary.symlink_to("/dev/full")
        temporary.write_text("x" * 100_000)


def test_the_file_appears_when_it_is_complete(tmp_path):
    path = tmp_path / "new/folder/a.txt"
    with whole_file(path) as temporary:
        temporary.write_text("all of it")
        assert not path.exists()
    assert path.read_text() == "all of it"
    assert [file.name for file in path.parent.iterdir()] == ["a.txt"]


def test_an_error_leaves_the_old_file_alone(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(ZeroDivisionError):
        half_written(path)
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a full device")
def test_a_full_disk_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"write .*a\.txt: No space left on device\. Name"):
        fill_the_disk(tmp_path / "a.txt")
    assert list(tmp_path.iterdir()) == []


def test_a_file_where_a_folder_ought_to_be(tmp_path):
    write_text(tmp_path / "a", "")
    with pytest.raises(UserError, match=r"could not write .*a/b: "):
        write_text(tmp_path / "a/b", "")


def test_a_program_that_fails_to_write_is_one_line(tmp_path):
    def write(file):
        file.write(b"half")
        raise RuntimeError("the archive could not be finished\nand much more")

    write_text(tmp_path / "a", "old")
    with pytest.raises(UserError, match=r"could not write .*a: the archive could not be finished"):
        write_file(tmp_path / "a", write)
    assert (tmp_path / "a").read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["a"]


def test_plain_values_come_back(tmp_path):
    values = {"a": [1, 2.5, None], "b": {"ä": True}}
    write_json(tmp_path / "new" / "a.json", values)
    assert read_json(tmp_path / "new" / "a.json") == values
    write_text(tmp_path / "broken.json", '{"a": ')
    for name in ("broken.json", "absent.json"):
        with pytest.raises(UserError, match=rf"{name}: cannot be read as JSON"):
            read_json(tmp_path / name)
