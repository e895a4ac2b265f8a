"""Lists of files: what is read from them, and how missing and repeated names are reported."""

import pytest

from pointssl_datasets.base.errors import DataError
from pointssl_datasets.layout.listings import read_lines, require_files, require_unique


def test_lines_are_stripped_and_blank_ones_left_out(tmp_path):
    path = tmp_path / "list.txt"
    path.write_bytes(b"\xef\xbb\xbf a.txt \r\n\r\nb.txt")
    assert read_lines(path, "a layout") == ["a.txt", "b.txt"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"No such file or directory. Expected a layout\."),
        (b" \n", r"the file is empty. Expected a layout\."),
        (b"\xff\xfe", "is not a text file"),
    ],
)
def test_what_is_no_list(tmp_path, content, message):
    path = tmp_path / "list.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_lines(path, "a layout")


def test_missing_files_are_counted_and_five_are_named(tmp_path):
    (tmp_path / "here").write_text("")
    paths = [tmp_path / "here", *(tmp_path / f"{i}.txt" for i in range(7))]
    require_files(paths[:1], tmp_path / "list.txt")
    expected = r"7 of the 8 files .* missing: 0.txt, 1.txt, 2.txt, 3.txt, 4.txt and 2 more. Get it"
    with pytest.raises(DataError, match=expected):
        require_files(paths, tmp_path / "list.txt", "Get it.")


def test_a_repeated_name_is_refused(tmp_path):
    require_unique(["a", "b"], tmp_path)
    with pytest.raises(DataError, match="lists a twice"):
        require_unique(["a", "b", "a", "b"], tmp_path)
