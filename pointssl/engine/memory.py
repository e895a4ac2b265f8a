"""Memory of this process: what it holds, and keeping what it frees."""

import ctypes
import sys
from pathlib import Path

STATUS = Path("/proc/self/status")  # Linux
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3


def keep_freed_memory() -> None:
    """Ask glibc to reuse large blocks instead of giving them back to the system each step.

    A CPU training step allocates the same hundreds of megabytes again and again; without this a
    fifth of its time goes into the kernel's zeroing of pages. Does nothing elsewhere than on
    glibc.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, 32 << 20)  # glibc's upper limit
        mallopt(M_TRIM_THRESHOLD, 1 << 30)


def process_memory(key: str) -> int:
    """``VmRSS``, what this process holds, or ``VmHWM``, the most it ever held; bytes.

    Not ``getrusage``, whose maximum starts from that of the parent process.
    """
    for line in STATUS.read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"{STATUS} has no {key}")
