"""Lists of strings on disk."""

import numpy as np
import pytest

from pointssl_datasets.packing.strings import StringsStream, read_strings

TEXTS = ["chair/0001", "", "łóżko/2", "a\nb\tc", "x" * 1000, "\udcff"]


def written(folder, texts):
    with StringsStream(folder, "names") as stream:
        for text in texts:
            stream.append(text)
    return read_strings(folder, "names")


def test_is_the_list_that_was_written(tmp_path):
    strings = written(tmp_path, TEXTS)
    assert list(strings) == TEXTS
    assert [strings[i] for i in range(-6, 6)] == TEXTS + TEXTS
    assert strings[1:5:2] == TEXTS[1:5:2]
    assert (len(strings), strings.index("")) == (6, 1)
    for index in (6, -7):
        with pytest.raises(IndexError):
            strings[index]


@pytest.mark.parametrize("texts", [[], [""], ["", ""]])
def test_nothing_at_all(tmp_path, texts):
    assert list(written(tmp_path, texts)) == texts


def test_damage_is_noticed_at_opening(tmp_path):
    written(tmp_path, TEXTS)
    (tmp_path / "names.text.npy").write_bytes((tmp_path / "names.text.npy").read_bytes()[:-9])
    with pytest.raises(ValueError, match=r"mmap length|cannot"):
        read_strings(tmp_path, "names")
    with pytest.raises(OSError, match="No such file"):
        read_strings(tmp_path, "other")
    assert np.load(tmp_path / "names.ends.npy").tolist()[-1] == sum(
        len(t.encode("utf-8", "surrogateescape")) for t in TEXTS
    )
