"""What went wrong, in one line and an exit code; bugs are left alone and keep their traceback."""

import errno
import json
import os
import re
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import typer

from pointssl_datasets.base.errors import UserError

# Not mistakes of the program but of the place it writes to or reads from.
FILE_ERRORS = {
    errno.ENOSPC: "Free some space, or name another folder.",
    errno.EDQUOT: "Free some space, or name another folder.",
    errno.EFBIG: "Raise the limit of file sizes (ulimit -f).",
    errno.ENOENT: "Check the path.",
    errno.EACCES: "Name a place where you may read and write.",
    errno.EPERM: "Name a place where you may read and write.",
    errno.EROFS: "Name a folder that can be written.",
    errno.ENOTDIR: "A file is where a folder is expected.",
    errno.EISDIR: "A folder is where a file is expected.",
    errno.EEXIST: "Remove it, or name another.",
    errno.EMFILE: "Raise the limit of open files (ulimit -n).",
}
LESS_MEMORY = "Lower --batch-size, --points, --mesh-points or --image-size, whichever there is."


class Failure(NamedTuple):
    """How the program ends: exit code and the line to print."""

    code: int
    line: str


def explain(error: BaseException) -> Failure | None:
    """What the user can be told about ``error``; None where it is a bug."""
    if isinstance(error, UserError):
        return Failure(error.exit_code, f"error: {_one_line(error)}")
    if isinstance(error, (KeyboardInterrupt, typer.Abort)):
        return Failure(130, "interrupted")
    stopping = sys.modules.get("pointssl.engine.stopping")  # imports torch, if nobody has yet
    if stopping is not None and isinstance(error, stopping.Stopped):
        return Failure(error.exit_code, error.message)
    if hasattr(error, "format_message"):  # of the command-line parser
        return Failure(2, f"error: {_usage(error)}")
    if isinstance(error, MemoryError) or _is_out_of_memory(error):
        found = re.search(r"to allocate ([\d.]+ \w+)", str(error))
        how_much = f": {found[1]} were wanted" if found else ""
        return Failure(1, f"error: out of memory{how_much}. {LESS_MEMORY}")
    if isinstance(error, OSError) and error.errno in FILE_ERRORS:
        where = f"{error.filename}: " if error.filename else ""
        return Failure(1, f"error: {where}{error.strerror}. {FILE_ERRORS[error.errno]}")
    if isinstance(error, RuntimeError) and "inline_container.cc" in str(error):
        return Failure(1, "error: a checkpoint could not be written whole. Is the disk full?")
    return None


def _one_line(error: BaseException) -> str:
    """The message; torch wraps that of a data-loading process into a traceback's text."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0] if len(lines) == 1 else lines[-1].partition(": ")[2] or lines[-1]


def _usage(error: Any) -> str:
    """The parser's message, and which help to read."""
    command = error.ctx.command_path if getattr(error, "ctx", None) else "pointssl"
    message = " ".join(error.format_message().split())
    return f"{message}{'' if message.endswith(('.', '?')) else '.'} See `{command} --help`."


def _is_out_of_memory(error: BaseException) -> bool:
    # By name and text, so that torch need not be imported to fail.
    text = str(error)
    return type(error).__name__ == "OutOfMemoryError" or (
        isinstance(error, RuntimeError)
        and ("can't allocate memory" in text or "CUDA out of memory" in text)
    )


def report(failure: Failure) -> None:
    """Print the line, once per job: under torchrun only rank 0 does.

    The other ranks leave theirs in the file that torchrun names, and torchrun's own summary shows
    the one that failed first; so a failure of rank 3 alone is not lost.
    """
    if os.environ.get("RANK", "0") == "0":
        print(f"pointssl: {failure.line}", file=sys.stderr, flush=True)
    elif failure.code and os.environ.get("TORCHELASTIC_ERROR_FILE"):
        when = {"timestamp": str(int(time.time())), "py_callstack": failure.line}
        content = {"message": {"message": failure.line, "extraInfo": when}}
        Path(os.environ["TORCHELASTIC_ERROR_FILE"]).write_text(json.dumps(content))
