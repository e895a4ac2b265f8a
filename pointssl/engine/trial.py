"""Two steps of a run in a process of their own: how much memory do they take?

``python -m pointssl.engine.trial``, told by one JSON object on stdin, answers with another as the
last line of stdout: ``{"peak": bytes}``, null where it did not fit, or ``{"error": line}``.
"""

import contextlib
import json
import resource
import sys
from pathlib import Path
from typing import Any

import torch

from pointssl.config.options import make
from pointssl.engine.memory import process_memory
from pointssl.engine.stopping import Stopped
from pointssl_datasets.base.errors import UserError
from pointssl_datasets.base.resolve import resolve


def main() -> None:
    """Read what is asked, and answer."""
    asked = json.loads(sys.stdin.read())
    with contextlib.suppress(OSError):  # the system, short of memory, shall take this one first
        Path("/proc/self/oom_score_adj").write_text("1000")
    if asked["limit"] is not None:
        resource.setrlimit(resource.RLIMIT_DATA, (asked["limit"], resource.RLIM_INFINITY))
    print(json.dumps(answer(asked["run"], asked["config"], asked["options"])))


def answer(run_name: str, config_name: str, options: dict[str, Any]) -> dict[str, Any]:
    """The most memory that two steps took.

    Args:
        run_name, config_name: ``"package.module:name"`` of the function and of what it takes.
        options: of the config.
    """
    run = resolve(run_name, {}, "recipe")
    try:
        config = make(resolve(config_name, {}, "config"), options)
        for _ in range(2):  # --max-time 0: each goes on for one step
            with contextlib.suppress(Stopped):
                run(config)
    except UserError as error:
        return {"error": str(error)}
    except (MemoryError, RuntimeError, OSError) as error:
        if not is_shortage(error):
            raise
        return {"peak": None}
    if torch.cuda.is_available() and config.device != "cpu":
        return {"peak": torch.cuda.max_memory_reserved()}
    return {"peak": process_memory("VmHWM")}


def is_shortage(error: BaseException) -> bool:
    """Whether it says that there is no memory left."""
    known = ("can't allocate memory", "not enough memory", "out of memory", "cannot allocate",
             "can't start new thread")  # fmt: skip
    return isinstance(error, MemoryError) or any(words in str(error).lower() for words in known)


if __name__ == "__main__":
    main()
