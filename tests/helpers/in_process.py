"""`pointssl ...` called in this process: what it printed and how it ended."""

from typing import NamedTuple

from pointssl_cli.main import main


class Ended(NamedTuple):
    """Exit code and output of a command."""

    code: int
    out: str
    err: str


def call(capfd, *words):
    """``pointssl WORDS``; what is no mistake of the user's but a bug passes through."""
    capfd.readouterr()
    try:
        main([str(word) for word in words])
    except SystemExit as end:
        code = end.code
    return Ended(code, *capfd.readouterr())


def refused(capfd, code, *words):
    """The one line that the command ends with; nothing else may be on stderr."""
    ended = call(capfd, *words)
    assert ended.code == code, ended
    assert ended.err.startswith("pointssl: error: "), ended.err
    assert ended.err.count("\n") == 1, ended.err
    assert ended.err.endswith("\n")
    return ended.err.removeprefix("pointssl: error: ").rstrip()


def worked(capfd, *words):
    """What a command that must succeed printed; it has nothing to say on stderr."""
    ended = call(capfd, *words)
    assert (ended.code, ended.err) == (0, ""), ended
    return ended.out
