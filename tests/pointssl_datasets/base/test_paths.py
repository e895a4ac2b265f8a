"""Folders of data and cache, and the key of a set of files."""

import os
from pathlib import Path

import pytest

from pointssl_datasets.base.errors import DataError
from pointssl_datasets.base.paths import cache_root, data_root, find_layout, stat_key


def test_where_data_and_cache_are(tmp_path, monkeypatch):
    monkeypatch.setenv("POINTSSL_DATA", str(tmp_path))
    monkeypatch.setenv("POINTSSL_CACHE", str(tmp_path / "cache"))
    (tmp_path / "data").mkdir()
    assert data_root(tmp_path / "data", "x") == tmp_path / "data"
    assert data_root(None, "x") == tmp_path
    assert cache_root(None) == tmp_path / "cache"
    assert cache_root(Path("~/elsewhere")) == Path.home() / "elsewhere"
    monkeypatch.delenv("POINTSSL_DATA")
    monkeypatch.chdir(tmp_path)
    assert data_root(None, "x") == tmp_path / "data"


def test_the_message_has_the_origin_of_a_missing_folder(tmp_path, monkeypatch):
    with pytest.raises(DataError, match=r"x: .*absent \(--data-root\) does not exist"):
        data_root(tmp_path / "absent", "x")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("POINTSSL_DATA", str(tmp_path / "file"))
    with pytest.raises(DataError, match=r"file \(\$POINTSSL_DATA\) is a file"):
        data_root(None, "x")


def test_a_layout_is_found_here_or_directly_below(tmp_path):
    def fits(folder):
        return (folder / "list.txt").is_file()

    (tmp_path / "a").mkdir()
    with pytest.raises(DataError, match=r"not found in .* Expected a list"):
        find_layout(tmp_path, fits, "x", "a list")
    (tmp_path / "a" / "list.txt").write_text("")
    assert find_layout(tmp_path, fits, "x", "a list") == tmp_path / "a"
    assert find_layout(tmp_path / "a", fits, "x", "a list") == tmp_path / "a"
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "list.txt").write_text("")
    with pytest.raises(DataError, match="contains several: a, b"):
        find_layout(tmp_path, fits, "x", "a list")


def test_the_key_follows_name_size_time_and_words(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    for path in (one, other):
        path.write_text("abc")
        os.utime(path, ns=(10**18, 10**18))
    keys = [stat_key([one]), stat_key([other]), stat_key([one], "word"), stat_key([one, other])]
    one.write_text("abcd")
    os.utime(one, ns=(10**18, 10**18))
    keys.append(stat_key([one]))
    os.utime(one, ns=(10**18, 10**18 + 1))
    keys.append(stat_key([one]))
    assert len(set(keys)) == len(keys)
    assert stat_key([one]) == keys[-1]
    with pytest.raises(DataError, match="gone: No such file"):
        stat_key([tmp_path / "gone"])
