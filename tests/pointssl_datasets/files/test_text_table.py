"""The compiled parser of number tables against NumPy's, to the bit; and what is left to NumPy."""

import numpy as np
import pytest

from pointssl_datasets.base.errors import DataError
from pointssl_datasets.files import text_table
from pointssl_datasets.files.text_table import parse_plain, read_table

needs_numba = pytest.mark.skipif(text_table._compiled() is None, reason="numba is not installed")


def numbers(count=3000, seed=0):
    """Of all sizes that 15 digits and small powers of ten can tell."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=count) * 10.0 ** rng.integers(-6, 7, count)


FORMS = {
    "fixed": ("%.6f", " "),
    "commas": ("%.8f", ","),
    "commas and blanks": ("%.3f", ", "),
    "tabs": ("%.7g", "\t"),
    "exponents": ("%.8e", " "),
    "large exponents": ("%.5E", "  "),
    "signs": ("%+.4f", " "),
    "whole": ("%d", " "),
}


@needs_numba
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("ending", ["\n", "\r\n", ""])
def test_bits_equal_numpys(form, ending):
    pattern, between = FORMS[form]
    rows = [[pattern % value for value in row] for row in numbers().reshape(-1, 6)]
    raw = ((ending or "\n").join(between.join(row) for row in rows) + ending).encode()
    expected = np.array([[float(cell) for cell in row] for row in rows])
    found = parse_plain(raw)
    assert found is not None
    np.testing.assert_array_equal(found.view(np.uint64), expected.view(np.uint64))


PLAIN = {"1 2\n3 4": 2, " 1\t2 \n3 4 \n": 2, "1.\n.5\n": 1, "-0\n+7e-3\n": 1, "5": 1}
NOT_PLAIN = [
    "", "\n", "\n1 2\n", "1 2\n\n3 4\n", "1 2\n3\n", "1\n2 3\n", "1,2,\n", ",1,2\n", "1,,2\n",
    "1 2\nx 4\n", "1-2 3\n", "1 - 2\n", "1.2.3 4\n", "# x y\n1 2\n", "nan 1\n", "inf 1\n", "1e 2\n",
    "1 2 # a\n", "1e99 1\n", "0x10 1\n", "1_0 1\n", "1234567890123456 1\n", "\ufeff1 2\n",
    "1;2\n", "1 2\x00\n", "<html>\n", "1 2\n3 4\n5", "--1 2\n", "1e+-2 3\n", ". 1\n",
]  # fmt: skip


@needs_numba
@pytest.mark.parametrize("text", PLAIN)
def test_plain_tables(text):
    found = parse_plain(text.encode())
    assert found is not None
    assert found.shape[1] == PLAIN[text]
    cells = text.replace(",", " ").split()
    np.testing.assert_array_equal(found.reshape(-1), [float(cell) for cell in cells])


@needs_numba
@pytest.mark.parametrize("text", NOT_PLAIN)
def test_what_is_not_plain_is_left_to_numpy(text):
    assert parse_plain(text.encode()) is None


@needs_numba
def test_random_bytes_never_pass_for_a_table():
    """Where both read a text, both must read the same; the compiled one never reads more."""
    rng = np.random.default_rng(0)
    letters = list("0123456789.-+e, \t\r\n")
    read = 0
    for _ in range(3000):
        text = "".join(rng.choice(letters, rng.integers(1, 12)))
        found = parse_plain(text.encode())
        if found is not None:
            read += 1
            cells = [line.replace(",", " ").split() for line in text.split("\n") if line.strip()]
            np.testing.assert_array_equal(found, [[float(c) for c in row] for row in cells])
    assert read > 100


@pytest.mark.parametrize("size", ["small", "large"])
@pytest.mark.parametrize("numba", [True, False])
def test_files_read_the_same_with_and_without_numba(tmp_path, monkeypatch, size, numba):
    if not numba:
        monkeypatch.setattr(text_table, "_compiled", lambda: None)
    table = numbers(30 if size == "small" else 30_000).reshape(-1, 3).round(4)
    path = tmp_path / "a.txt"
    np.savetxt(path, table, fmt="%.4f")
    np.testing.assert_array_equal(read_table(path), table)
    path.write_text(f"{len(table)}\n" + path.read_text())
    np.testing.assert_array_equal(read_table(path, count_line=True), table)
    with pytest.raises(DataError, match="line 2 has 3 columns, earlier ones 1"):
        read_table(path)
    np.savetxt(path, table[:, :1], fmt="%.4f")
    np.testing.assert_array_equal(read_table(path), table[:, :1])


@pytest.mark.parametrize("rows", [5, 50_000])
def test_a_count_before_one_column(tmp_path, rows):
    path = tmp_path / "a.txt"
    path.write_text(f"{rows}\n" + "7\n" * rows)
    assert read_table(path).shape == (rows + 1, 1)
    assert read_table(path, count_line=True).shape == (rows, 1)


@pytest.mark.parametrize("rows", [10, 20_000])
def test_the_bad_line_is_named(tmp_path, rows):
    path = tmp_path / "a.txt"
    path.write_text("1.5 2.5 3.5\n" * rows + "1.5 oops 3.5\n")
    with pytest.raises(DataError, match=f"line {rows + 1} is not numbers: '1.5 oops"):
        read_table(path)
    path.write_text("1.5 2.5 3.5\n" * rows + "1.5 2.5\n")
    with pytest.raises(DataError, match=f"line {rows + 1} has 2 columns, earlier ones 3"):
        read_table(path)
    path.write_bytes(b"1.5 2.5\n" * rows + b"\xff\xfe")
    with pytest.raises(DataError, match="is not a text file"):
        read_table(path)


def test_missing_and_empty_files(tmp_path):
    with pytest.raises(DataError, match="cannot be read: No such file"):
        read_table(tmp_path / "gone.txt")
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(DataError, match="the file is empty"):
        read_table(tmp_path / "a.txt")
    (tmp_path / "a.txt").write_text("# nothing\n\n")
    with pytest.raises(DataError, match="holds no points"):
        read_table(tmp_path / "a.txt")
