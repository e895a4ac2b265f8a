"""The learning rate as a plain function of how far the run is."""

import math


def lr_at(
    step: int,
    *,
    steps_per_epoch: int,
    epochs: int,
    peak: float,
    floor: float = 0.0,
    warmup_epochs: float = 0.0,
    schedule: str = "cosine",
    by: str = "step",
) -> float:
    """Learning rate of optimiser step ``step``, counted from 0 over the whole run.

    Linear warm-up, then a cosine down to ``floor`` (Loshchilov and Hutter 2017) or a constant.
    ``by="epoch"`` steps before each epoch as CrossPoint's pretraining does, so epoch e, counted
    from 0, runs at the value for e + 1 and the last epoch at ``floor``; ``by="after-epoch"`` steps
    after each as dgcnn.pytorch does, so epoch e runs at the value for e.
    """
    epoch = step / steps_per_epoch
    if by != "step":
        epoch = step // steps_per_epoch + int(by == "epoch")
    if epoch < warmup_epochs:
        done = epoch if by == "epoch" else (step + 1) / steps_per_epoch
        return peak * min(1.0, done / warmup_epochs)
    if schedule == "constant":
        return peak
    progress = min(1.0, (epoch - warmup_epochs) / max(epochs - warmup_epochs, 1e-9))
    return floor + (peak - floor) * 0.5 * (1 + math.cos(math.pi * progress))


def scaled_lr(lr: float, batch_size: int, base: int | None) -> float:
    """``lr`` as given, or times ``batch_size / base`` (Goyal et al. 2017)."""
    return lr if base is None else lr * batch_size / base
