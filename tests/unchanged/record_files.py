"""Writes `files/`: checkpoints, run folders and caches as the code of one day wrote them.

    git worktree add --detach /tmp/then 974546b
    cd /tmp && PYTHONPATH=/tmp/then:/tmp/then/cli:/tmp/then/datasets python .../record_files.py

Only to be run on purpose, and never with later code: the point of these files is that they are
old. New kinds of files may be added by a later commit, in a function of their own; those that are
there stay as they are. It uses the inside of pointssl as of commit 974546b.

A fine-tuned head has 100,000 weights by default. To keep the files small, the heads are narrowed
by the argument `hidden`, which `task_args` of a checkpoint may have; nothing is left out. Of
networks whose width no option narrows, `described/` has everything but the numbers in the tensors.
"""

import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import kept_data
import numpy as np
import torch
from kept_runs import CLOUDS, KEPT, MACHINE, RESUMED, call, worked


def flags(arguments: str) -> str:
    """``"a=1 b=2"`` as ``--backbone-arg a=1 --backbone-arg b=2``."""
    return " ".join(f"--backbone-arg {one}" for one in arguments.split())


DGCNN = "--k 4 --embedding 4 --backbone-arg channels=[4,4]"
PRETRAIN = (
    f"pretrain {MACHINE} {CLOUDS} --points 32 --batch-size 8 --epochs 2 {DGCNN} --projection 2"
)
FINETUNE = f"{MACHINE} --points 32 --batch-size 8 --epochs 2 --no-pictures"
PLAIN = "--optimizer sgd --momentum 0 --lr 0.05"  # an optimiser without tensors: small files
BACKBONES = {
    "dgcnn_seg": "k=4 embedding=8 channels=4 align=false",
    "point_transformer": "k=4 embedding=8 blocks=1",
    "point_transformer_packed": "k=4 first_k=4 widths=[8,16] depths=[1,1] strides=[1,4]",
    "pct": "k=4 embedding=8 channels=[4,4] local_channels=[8,8] centres=[16,8] attentions=1",
    "pointnet": "embedding=8 channels=[4,8] tnet_channels=[4,8] tnet_hidden=[4]",
    "pointnet2": "embedding=8 hidden=[8] centres=[16,8] radii=[[0.8],[1.6]] "
    "neighbours=[[5],[4]] channels=[[[4,8]],[[8,4]]] decoder_channels=[[8],[8,4],[4]]",
    "pointnet2_msg": "embedding=8 hidden=[8] centres=[16,8] radii=[[0.4,0.8],[1.6,3.2]] "
    "neighbours=[[4,8],[4,8]] channels=[[[4,8],[4,4]],[[4,8],[8]]]",
}
PATCHES = "groups=8 group_size=6 depth=2 taps=[1,2] embedding=8"
SEG = "--backbone dgcnn_seg --k 4 --embedding 8 --backbone-arg channels=4"
LARGE = {  # one epoch each, into described/
    "patch_transformer": f"cls {{cls}} --head linear --backbone patch_transformer "
    f"{flags(PATCHES)} --backbone-arg heads=2",
    "mamba": f"cls {{cls}} --head linear --backbone mamba {flags(PATCHES)} --backbone-arg state=2",
    "cls": f"cls {{cls}} {DGCNN} --normals",
    "partseg": f"partseg {{cls}} {SEG}",
    "semseg": f"semseg {{rooms}} {SEG}",
}


@contextmanager
def narrow_heads() -> Iterator[None]:
    """Fine-tuning gives its heads layers of 8 channels, and says so in the checkpoint."""
    from pointssl.recipes import finetune

    before = finetune.describe_network

    def describe(config: Any, subject: Any, job: Any) -> dict[str, Any]:
        facts = before(config, subject, job)
        arguments = facts["task_args"]
        layers = 2 if job.task == "cls" else len(arguments["dropout"])
        return {**facts, "task_args": {**arguments, "hidden": [8] * layers}}

    finetune.describe_network = describe
    try:
        yield
    finally:
        finetune.describe_network = before


def stop_after(folder: Path, words: str, steps: int) -> None:
    """A run that was stopped after so many steps."""
    for _ in range(steps):
        ended = call(folder, f"{words} --max-time 0")
        assert "continue" in ended.err, ended


def foreign() -> dict[str, torch.Tensor]:
    """A state dict with the keys of dgcnn.pytorch and its likes, each norm twice as there."""
    from pointssl.encoders import build_encoder
    from pointssl.zoo.dgcnn import cls_keys

    small = {"embedding": 8, "channels": (4, 4, 4, 8)}
    ours, theirs = build_encoder("dgcnn", seed=5, **small).state_dict(), {}
    for our, their in cls_keys({}).items():
        value = ours[our].clone()
        if their.endswith(".0.weight"):
            value = value[..., None] if their.startswith("conv5") else value[..., None, None]
        theirs[f"module.{their}"] = value
        if their.startswith("bn"):
            theirs[f"module.conv{their[2]}.1.{their.partition('.')[2]}"] = value
    theirs["module.inv_head.0.weight"] = torch.ones(2, 2)
    return theirs


def write_files(folder: Path) -> None:
    """Everything, into folder/files."""
    for name in ("backbones", "foreign", "described"):
        (folder / "files" / name).mkdir(parents=True)
    kept_data.write_clouds(folder / "data" / "clouds")
    kept_data.write_clouds(folder / "data" / "plain", pictures=False)
    kept_data.write_rooms(folder / "data" / "rooms")
    cls = f"{FINETUNE} {CLOUDS} {PLAIN}"
    rooms = f"{FINETUNE} --data s3dis --data-root data/rooms {PLAIN} --batch-size 2 --test-stride 1"
    once = "--epochs 1 --val-share 0"

    worked(folder, f"{PRETRAIN} {PLAIN} --image-encoder none --run-dir files/pretrained")
    weights = "--weights files/pretrained/checkpoints/last.pt"
    stop_after(folder, RESUMED["stopped"], 4)
    stop_after(folder, RESUMED["stopped_cls"], 3)

    for name, given in BACKBONES.items():
        encoder = f"--backbone {name} {flags(given)} --head linear"
        worked(folder, f"finetune cls {cls} {encoder} {once} --run-dir runs/{name}")
        kept = folder / "files" / "backbones" / f"{name}.pt"
        shutil.copy(folder / "runs" / name / "checkpoints" / "model.pt", kept)
    seg = "--weights files/backbones/dgcnn_seg.pt"
    with narrow_heads():
        worked(folder, f"finetune cls {cls} {weights} --run-dir files/cls")
        worked(folder, f"finetune partseg {cls} {seg} --run-dir files/partseg")
        worked(folder, f"finetune semseg {rooms} {seg} --run-dir files/semseg")

    for name, words in LARGE.items():
        words = words.format(cls=cls, rooms=rooms)
        worked(folder, f"finetune {words} {once} --run-dir runs/large_{name}")
        path = folder / "runs" / f"large_{name}" / "checkpoints" / "model.pt"
        content = kept_data.described(torch.load(path, weights_only=True))
        (folder / "files" / "described" / f"{name}.json").write_text(json.dumps(content))

    torch.save({"state_dict": foreign(), "epoch": 3}, folder / "files/foreign/crosspoint.pth")
    for suffix in ("pt", "safetensors"):
        worked(folder, f"import files/foreign/crosspoint.pth files/foreign/imported.{suffix}")

    worked(
        folder,
        f"eval-fewshot {MACHINE} {CLOUDS} {weights} --cache-dir files/cache --seeds 2 "
        "--no-baseline --way 2 --shot 3 --runs 4 --out runs/fewshot",
    )
    shutil.rmtree(folder / "files" / "cache" / "clouds")
    shutil.copy(folder / "runs" / "fewshot" / "episodes.json", folder / "files")
    plain = "--data folder --data-root data/plain --points 16 --no-progress"
    worked(folder, f"data convert {plain} --out files/packed")
    flat = folder / "data" / "clouds" / "train" / "bed" / "m0.npz"
    np.savez(flat, xyz=np.zeros((64, 3), np.float32))
    call(folder, f"data check {CLOUDS} --points 32 --no-progress --fix")
    shutil.copy(folder / "data" / "clouds" / "pointssl-skip.tsv", folder / "files")


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        write_files(Path(name))
        for path in Path(name, "files").rglob("*"):
            if path.name in ("tensorboard", "loss_curves.png"):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        shutil.rmtree(KEPT, ignore_errors=True)
        shutil.copytree(Path(name) / "files", KEPT)


if __name__ == "__main__":
    main()
