"""Per-step checks, synchronised over ranks: is the loss finite, has a stop been requested?

On a CPU the answer is there before the weights move. A GPU is never waited for: the answer to a
step is read while the next one is computed, and the optimiser itself leaves the weights as they
are where a loss was not finite.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from pointssl.engine.distributed import World
from pointssl.engine.stopping import StopRequest
from pointssl_datasets.base.errors import UserError


@dataclass(frozen=True)
class Question:
    """A step whose answer is on its way from the device."""

    scalars: dict[str, Any]
    index: Tensor
    place: str
    answer: Tensor
    arrived: torch.cuda.Event | None


class Checks:
    """The checks of one run.

    Args:
        late: read every answer a step later; it needs an optimiser that takes ``found_inf``, as
            :func:`skips_non_finite` says. Default: on a GPU, if so.
    """

    def __init__(
        self,
        request: StopRequest,
        optimizer: torch.optim.Optimizer,
        world: World,
        late: bool | None = None,
    ) -> None:
        self.request, self.optimizer, self.world = request, optimizer, world
        self.late = (
            world.device.type == "cuda" and skips_non_finite(optimizer) if late is None else late
        )
        self.open: Question | None = None

    def submit(self, scalars: dict[str, Any], index: Tensor, place: str) -> int:
        """The reason to stop, or 0: of this step, or of the one before if answers are late.

        Args:
            scalars: of the step's losses, all of them for the message; its ``"loss"`` counts.
            index: of the batch's clouds.
            place: of the step, in words.

        Raises:
            UserError: a loss is not finite on some rank; every rank raises it.
        """
        broken = (~torch.isfinite(scalars["loss"].detach())).float()
        flags = torch.stack((broken, torch.full_like(broken, self.request.wanted())))
        if self.world.size > 1:
            dist.all_reduce(flags, op=dist.ReduceOp.MAX)
        if self.late:
            self.optimizer.found_inf = flags[0]  # type: ignore[attr-defined]
        before, self.open = self.open, self._sent(scalars, index, place, flags)
        if self.late:
            return self._read(before)
        return self.flush()

    def flush(self) -> int:
        """As :meth:`submit`, of the last step: before anything is written."""
        last, self.open = self.open, None
        return self._read(last)

    def _sent(self, scalars: dict[str, Any], index: Tensor, place: str, flags: Tensor) -> Question:
        """The question, with its answer on the way to the host."""
        if flags.device.type != "cuda":
            return Question(scalars, index, place, flags, None)
        answer = flags.to("cpu", non_blocking=True)
        arrived = torch.cuda.Event()
        arrived.record()
        return Question(scalars, index, place, answer, arrived)

    def _read(self, question: Question | None) -> int:
        if question is None:
            return 0
        if question.arrived is not None:
            question.arrived.synchronize()
        broken, reason = question.answer.tolist()
        if broken:
            raise self._not_finite(question)
        return int(reason)

    def _not_finite(self, question: Question) -> UserError:
        """Names step, terms and the batch of all ranks; every rank must call it."""
        mine = [
            name for name, v in question.scalars.items()
            if not torch.isfinite(torch.as_tensor(v)).all()
        ]  # fmt: skip
        found = self.world.gather((mine, question.index.tolist()))
        terms = dict.fromkeys(name for names, _ in found for name in names)
        return UserError(
            f"not finite at {question.place}: {', '.join(terms)}. "
            f"Batch indices {[index for _, indices in found for index in indices]}. Lower --lr, "
            "use --clip-grad 1 or --amp off, or check these items; the last checkpoint is as it "
            "was."
        )


def skips_non_finite(optimizer: torch.optim.Optimizer) -> bool:
    """Whether it leaves everything as it is on the device's own word, as torch's fused ones do."""
    return all(group.get("fused") for group in optimizer.param_groups)
