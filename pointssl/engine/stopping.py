"""Stop at the next step, on every rank at the same one."""

import signal
import time
from types import FrameType, TracebackType

from pointssl.engine.distributed import World


class StopRequest:
    """Remembers SIGINT and SIGTERM and watches the clock, while used as a context.

    A second SIGINT interrupts at once.
    """

    def __init__(self, max_minutes: float | None = None, since: float | None = None) -> None:
        """``since``: when the clock began, by ``time.monotonic``; default: now."""
        self.signal: int | None = None
        began = time.monotonic() if since is None else since
        self.deadline = None if max_minutes is None else began + 60 * max_minutes
        self._before: dict[int, object] = {}

    def __enter__(self) -> "StopRequest":
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._remember)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if self.signal == signal.SIGINT == number:
            raise KeyboardInterrupt
        self.signal = number

    def wanted(self) -> float:
        """0 to go on, a signal's number, or 1 when the time is up."""
        if self.signal is not None:
            return float(self.signal)
        return float(self.deadline is not None and time.monotonic() > self.deadline)


class Stopped(Exception):
    """The run was asked to stop and has written its checkpoint."""

    def __init__(self, reason: int, where: str) -> None:
        super().__init__(where)
        self.reason = reason
        name = "--max-time" if reason == 1 else signal.Signals(reason).name
        self.message = f"stopped by {name} {where}; run the same command again to continue"
        self.exit_code = 0 if reason == 1 else 128 + reason


def agree_to_stop(request: StopRequest, finite: bool, world: World) -> tuple[int, bool]:
    """What any rank wants, on all ranks: the reason to stop, or 0; and if all losses are finite."""
    reason, broken = world.largest(request.wanted(), float(not finite))
    return int(reason), not broken
