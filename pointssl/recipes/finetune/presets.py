"""What each protocol of fine-tuning fills in where an option was not given, and what is wrong with
it.

``scratch`` holds for an encoder that starts at random; a checkpoint brings its own k and points.
The flaw that all public ones share, choosing the epoch by its score on test, is not repeated.
"""

from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar

from pointssl.config.finetune import FinetuneOptions
from pointssl.config.groups import AUTO

Config = TypeVar("Config", bound=FinetuneOptions)


@dataclass(frozen=True, kw_only=True)
class Preset:
    """Values of options by name, and what a reader of the result must know.

    Attributes:
        options: of training and evaluation.
        scratch: of the encoder, where it starts at random.
        head: further arguments of the task.
        join_val: train on the public val split too.
        caveats: printed with every result.
    """

    options: dict[str, Any]
    scratch: dict[str, Any] = field(default_factory=dict)
    head: dict[str, Any] = field(default_factory=dict)
    join_val: bool = False
    caveats: tuple[str, ...] = ()


LAST_EPOCH = "the public code keeps the epoch with the best test score; here the last one is tested"

STRICT: dict[str, Any] = {
    "epochs": 100,
    "batch_size": 32,
    "optimizer": "adamw",
    "lr": 1e-3,
    "weight_decay": 0.05,
    "decay_all": False,
    "schedule_by": "step",
    "warmup_epochs": 5.0,
    "min_lr": 1e-6,
    "clip_grad": 10.0,
    "smoothing": 0.2,
    "dropout": 0.5,
    "augment": "scale-shift",
    "sampling": "random",
    "val_share": 0.1,
}
# dgcnn.pytorch and CrossPoint: SGD with cosine to 1e-3, stepped after each epoch, and no clipping.
SGD: dict[str, Any] = {
    "optimizer": "sgd",
    "lr": 0.1,
    "weight_decay": 1e-4,
    "decay_all": True,
    "schedule_by": "after-epoch",
    "warmup_epochs": 0.0,
    "min_lr": 1e-3,
    "smoothing": 0.2,
    "dropout": 0.5,
    "sampling": "first",
    "val_share": 0.0,
}

PARTSEG = {
    "strict": Preset(options=STRICT, scratch={"backbone": "dgcnn_seg", "k": 40, "points": 2048}),
    # train_partseg.py of CrossPoint (Afham et al. 2022), which is dgcnn.pytorch's.
    "crosspoint": Preset(
        options={**SGD, "epochs": 300, "batch_size": 8, "augment": "none"},
        scratch={"backbone": "dgcnn_seg", "k": 40, "points": 2048},
        join_val=True,
        caveats=(
            LAST_EPOCH,
            "free argmax over the parts of all categories",
        ),
    ),
}
CLS = {
    "strict": Preset(options=STRICT, scratch={"backbone": "dgcnn", "k": 20, "points": 1024}),
    # main_cls.py of dgcnn.pytorch (Wang et al. 2019).
    "dgcnn": Preset(
        options={**SGD, "epochs": 250, "batch_size": 32, "augment": "scale-shift"},
        scratch={"backbone": "dgcnn", "k": 20, "points": 1024},
        join_val=True,
        caveats=(LAST_EPOCH, "the first points of a file are not a random sample of every file"),
    ),
    # Fine-tuning of Point-MAE (Pang et al. 2022), the same in Point-BERT and ReCon.
    "point-mae": Preset(
        options={
            **STRICT,
            "epochs": 300,
            "lr": 5e-4,
            "warmup_epochs": 10.0,
            "smoothing": 0.0,
            "val_share": 0.0,
        },
        scratch={"backbone": "dgcnn", "k": 20, "points": 1024},
        head={"hidden": [256, 256], "slope": 0.0},
        join_val=True,
        caveats=(LAST_EPOCH,),
    ),
}
SEMSEG = {
    "strict": Preset(
        options={**STRICT, "augment": "none"},
        scratch={"backbone": "dgcnn_seg", "k": 20, "points": 4096},
    ),
    # main_semseg_s3dis.py of dgcnn.pytorch (Wang et al. 2019).
    "dgcnn": Preset(
        options={
            **SGD,
            "epochs": 100,
            "batch_size": 32,
            "augment": "none",
            "sampling": "random",
        },
        scratch={"backbone": "dgcnn_seg", "k": 20, "points": 4096},
        caveats=(
            LAST_EPOCH,
            "the public code counts the points of every block; here a room's point counts once",
        ),
    ),
}


def deviations(config: FinetuneOptions, preset: Preset) -> list[str]:
    """A line about the options that were given and are not the protocol's."""
    expected = {"accumulate": 1, "amp": "off", **preset.options}
    given = {name: getattr(config, name, None) for name in expected}
    other = [
        f"--{name.replace('_', '-')} {'auto' if value == AUTO else value}"
        for name, value in given.items()
        if value is not None and value != expected[name]
    ]
    return [f"not as the protocol has it: {', '.join(other)}"] if other else []


def filled(config: Config, preset: Preset) -> Config:
    """``config`` with the preset's values where it has none of its own.

    The warm-up keeps its share of the run if another number of epochs is asked for.
    """
    values = dict(preset.options)
    if config.epochs is not None:
        values["warmup_epochs"] *= config.epochs / values["epochs"]
    if config.weights is None:
        own = config.backbone in (None, preset.scratch["backbone"])
        values |= preset.scratch if own else {"points": preset.scratch["points"]}
    names = {f.name for f in fields(config)}
    return replace(
        config,
        **{n: v for n, v in values.items() if n in names and getattr(config, n) is None},
    )
