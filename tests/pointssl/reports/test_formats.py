"""One set of tables as text, Markdown and LaTeX."""

from pointssl.reports.formats import Table, as_latex, as_markdown, as_text, latex

NASTY = r"my_data & 50% of #1 {a} $x$ ~ ^ \ ± | *b* <c> [d]"
TABLES = [
    Table("First", ["evaluation", "number", "pre_trained"], [["SVM", "mAP", "91.0 ± 0.5"]], (0, 1)),
    Table(NASTY, ["", NASTY], [[NASTY, "1"], ["b", "2"]]),
]


def unescaped(text):
    """What LaTeX shows of an escaped text."""
    for name, sign in (("textbackslash", "\\"), ("textasciitilde", "~"), ("textasciicircum", "^"),
                       ("textless", "<"), ("textgreater", ">"), ("textbar", "|")):  # fmt: skip
        text = text.replace(f"\\{name}{{}}", f"\0{sign}")
    for sign in "&%$#_{}":
        text = text.replace("\\" + sign, f"\0{sign}")
    text = text.replace(r"$\pm$", "±")
    bare = [c for i, c in enumerate(text) if c in "&%$#_{}~^\\" and text[i - 1] != "\0"]
    assert not bare
    return text.replace("\0", "")


def test_every_special_character_of_latex_is_escaped():
    assert unescaped(latex(NASTY)) == NASTY
    assert latex("plain, 91.0 [1]") == "plain, 91.0 [1]"


def test_latex_has_a_tabular_for_each_table():
    lines = as_latex(TABLES, ["a note"]).splitlines()
    assert lines[0] == "% a note"
    assert sum(line == r"\begin{tabular}{llr}" for line in lines) == 1
    assert sum(line == r"\begin{tabular}{lr}" for line in lines) == 1
    assert r"evaluation & number & pre\_trained \\" in lines
    assert r"SVM & mAP & 91.0 $\pm$ 0.5 \\" in lines
    assert lines.count(r"\begin{table}") == lines.count(r"\end{table}") == 2


def test_markdown_keeps_its_columns():
    lines = as_markdown(TABLES, [NASTY]).splitlines()
    assert "| SVM | mAP | 91.0 ± 0.5 |" in lines
    assert "| --- | --- | ---: |" in lines
    (row,) = [line for line in lines if line.startswith("| my")]
    assert row.replace(r"\|", "").count("|") == 3
    assert lines[-1].startswith(r"- my\_data & 50% of #1")


def test_text_is_for_a_terminal():
    text = as_text(TABLES, ["word " * 40])
    assert "First:" in text
    assert "SVM         mAP      91.0 ± 0.5" in text
    assert max(len(line) for line in text.splitlines()[-3:]) <= 100
