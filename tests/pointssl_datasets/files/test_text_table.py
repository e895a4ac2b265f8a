"""Text tables against a reader of a few lines in plain Python, to the bit; and what is refused."""

import numpy as np
import pytest

from pointssl_datasets.base.errors import DataError
from pointssl_datasets.files.text_table import read_table


def numbers(count=3000, seed=0):
    """Of all sizes that 15 digits and small powers of ten can tell."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=count) * 10.0 ** rng.integers(-6, 7, count)


def oracle(text):
    """The table as a list of rows, or None where the text is none."""
    rows = []
    for line in text.removeprefix("\ufeff").splitlines():
        cells = line.replace(",", " ").partition("#")[0].split()
        if cells:
            rows.append(cells)
    try:
        table = [[float(cell) for cell in row] for row in rows]
    except ValueError:
        return None
    return table if len({len(row) for row in table}) == 1 else None


FORMS = {
    "fixed": ("%.6f", " "),
    "commas": ("%.8f", ","),
    "commas and blanks": ("%.3f", ", "),
    "tabs": ("%.7g", "\t"),
    "exponents": ("%.8e", " "),
    "all digits": ("%.17g", " "),
    "large exponents": ("%.5E", "  "),
    "signs": ("%+.4f", " "),
    "whole": ("%d", " "),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("ending", ["\n", "\r\n", ""])
def test_bits_equal_pythons(tmp_path, form, ending):
    pattern, between = FORMS[form]
    rows = [[pattern % value for value in row] for row in numbers().reshape(-1, 6)]
    text = (ending or "\n").join(between.join(row) for row in rows) + ending
    (tmp_path / "a.txt").write_bytes(text.encode())
    expected = np.array(oracle(text))
    np.testing.assert_array_equal(
        read_table(tmp_path / "a.txt").view(np.uint64), expected.view(np.uint64)
    )


TEXTS = [
    "1 2\n3 4", " 1\t2 \n3 4 \n", "1.\n.5\n", "-0\n+7e-3\n", "5", "\n1 2\n", "1 2\n\n3 4\n",
    "1 2\n \n3 4\n", "1,2\n \n3,4\n", "1 2\n3\n", "1\n2 3\n", "1,2,\n", ",1,2\n", "1,,2\n",
    "1,2\n3 4\n", "1 2\n3,4\n", "1, 2\n3 ,4\n", "1 2\nx 4\n", "1-2 3\n", "1 - 2\n", "1.2.3 4\n",
    "# x y\n1 2\n", "  # x, y\n1,2\n", "nan 1\n", "inf 1\n", "1e 2\n", "1 2 # a, b\n3 4\n",
    "1 2 # a\n3\n", "1e99 1\n", "1e400 1\n", "0x10 1\n", "1234567890123456789 1\n", "\ufeff1 2\n",
    "\ufeff# x\n1 2\n", "1;2\n", "1 2\x00\n", "<html>\n", "1 2\n3 4\n5", "--1 2\n", "1e+-2 3\n",
    ". 1\n", "'1' 2\n", "1 2\r3 4\r", "# nothing\n\n", ",\n",
]  # fmt: skip


def check(path, text):
    path.write_text(text, encoding="utf-8", newline="")
    expected = oracle(text)
    if expected is None:
        with pytest.raises(DataError) as caught:
            read_table(path)
        assert "\n" not in str(caught.value)
    else:
        np.testing.assert_array_equal(read_table(path), expected)


@pytest.mark.parametrize("text", TEXTS)
def test_odd_tables(tmp_path, text):
    check(tmp_path / "a.txt", text)


def test_random_letters(tmp_path):
    rng = np.random.default_rng(0)
    letters = list("0123456789.-+e, \t\r\n#")
    read = 0
    for _ in range(2000):
        text = "".join(rng.choice(letters, rng.integers(1, 12)))
        check(tmp_path / "a.txt", text)
        read += oracle(text) is not None
    assert read > 100


@pytest.mark.parametrize("rows", [10, 10_000])
def test_a_count_in_the_first_line(tmp_path, rows):
    path = tmp_path / "a.txt"
    table = numbers(3 * rows).reshape(-1, 3).round(4)
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
