"""Tiny runs of the commands, and where they take place.

Every path is relative to a folder of its own, so that what a run writes is the same everywhere:

    data/     the datasets of kept_data.py
    files/    a copy of the files that are kept here, so that no run changes them
    cache/    the cache of all runs
    runs/     one folder for each run
"""

import contextlib
import io
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import kept_data
import torch

from pointssl_cli.main import main

KEPT = Path(__file__).parent / "files"

MACHINE = "--device cpu --threads 1 --kernels torch --no-progress --cache-dir cache"
CLOUDS = "--data folder --data-root data/clouds"
DGCNN = "--k 4 --embedding 8 --backbone-arg channels=[4,4]"
SHORT = "--points 32 --batch-size 8 --epochs 2"
PRETRAIN = f"pretrain {MACHINE} {CLOUDS} {SHORT} {DGCNN} --projection 4"
SMALL_IMAGES = "--image-encoder small_image_encoder:SmallImageEncoder --image-size 16"
FINETUNE = f"{MACHINE} {SHORT} --no-pictures"
SEGMENTATION = "--backbone dgcnn_seg --k 4 --embedding 8 --backbone-arg channels=4"
PRETRAINED = "--weights files/pretrained/checkpoints/last.pt"
FROZEN = f"{MACHINE} {CLOUDS} {PRETRAINED} --seeds 2 --no-baseline"
MANY = "--data-root data/many"  # of the protocols that ask for 20 queries a class
FEW = "--way 2 --shot 3 --runs 4"
POINTNET = (
    "--backbone pointnet --embedding 8 --backbone-arg channels=[4,8] "
    "--backbone-arg tnet_channels=[4,8] --backbone-arg tnet_hidden=[4]"
)

PRETRAININGS = {
    # One step of CrossPoint as it is where nothing is said of method, encoder and images.
    "defaults": f"pretrain {MACHINE} {CLOUDS} --points 32 --image-size 16 --batch-size 24 "
    "--epochs 1 --optimizer sgd --momentum 0 --clip-grad 1",
    "points": f"pretrain {MACHINE} --data shapes --size 24 --points 64 --batch-size 8 --epochs 2 "
    f"{DGCNN} --projection 4 --image-encoder none",
    # Not Adam, whose first steps are as long for a gradient of rounding errors as for any other:
    # through 20 layers of norms over 8 pictures, every machine would arrive somewhere else.
    "resnet": f"{PRETRAIN} --image-encoder resnet18 --image-size 16 --optimizer sgd --lr 0.01 "
    "--clip-grad 1",
    "four_flags": f"{PRETRAIN} {SMALL_IMAGES} --temperature 0.3 --within-weight 0.5 "
    "--cross-weight 2 --projection 6",
    "frozen_image": f"{PRETRAIN} {SMALL_IMAGES} --augment none --freeze-image",
    "pointnet": f"pretrain {MACHINE} {CLOUDS} {SHORT} {POINTNET} --projection 4 "
    "--image-encoder none --optimizer adamw --weight-decay 0.05",
    "sgd": f"{PRETRAIN} --image-encoder none --normals --optimizer sgd --momentum 0.8 --lr 0.05 "
    "--schedule-by epoch --warmup-epochs 1 --min-lr 0.001 --clip-grad 1 --rotate so3 "
    "--accumulate 2 --sampling first --seed 3",
}
FINETUNINGS = {
    "cls": f"finetune cls {FINETUNE} {CLOUDS} {PRETRAINED} --votes 2",
    "cls_probe": f"finetune cls {FINETUNE} {CLOUDS} {PRETRAINED} --freeze-backbone --val-share 0",
    "cls_point_mae": f"finetune cls {FINETUNE} {CLOUDS} {PRETRAINED} --protocol point-mae "
    "--layer-decay 0.5 --head-lr 0.002 --smoothing 0.1 --seeds 2",
    "partseg": f"finetune partseg {FINETUNE} {CLOUDS} --weights files/backbones/dgcnn_seg.pt",
    "partseg_chair": f"finetune partseg {FINETUNE} {CLOUDS} {SEGMENTATION} --class-choice chair "
    "--protocol crosspoint --category none --batch-size 4",
    "semseg": f"finetune semseg {FINETUNE} --data s3dis --data-root data/rooms {SEGMENTATION} "
    "--label-fraction 1 --batch-size 2 --block-size 1 --test-stride 1",
}
FINETUNE_LINEAR = f"finetune cls {FINETUNE} {CLOUDS} {PRETRAINED} --head linear"
RESUMED = {  # runs of kept files that were stopped in their second epoch
    "stopped": f"pretrain {MACHINE} {CLOUDS} {SHORT} --k 4 --embedding 2 "
    f"--backbone-arg channels=[4,4] --projection 2 {SMALL_IMAGES} --run-dir files/stopped",
    "stopped_cls": f"{FINETUNE_LINEAR} --run-dir files/stopped_cls",
}
EVALUATIONS = {
    "eval_svm": f"eval-svm {MACHINE} {CLOUDS} {PRETRAINED} --seeds 2",
    "eval_svm_crosspoint": f"eval-svm {FROZEN} --protocol crosspoint --label-fraction 0.5",
    "eval_knn": f"eval-knn {FROZEN}",
    "eval_linear": f"eval-linear {FROZEN} --turn-test up",
    "eval_cluster": f"eval-cluster {FROZEN} --starts 3",
    "eval_retrieval": f"eval-retrieval {FROZEN} --layer edge_convs.1 --pool mean",
    "eval_fewshot": f"eval-fewshot {FROZEN} {FEW}",
    "eval_fewshot_crosspoint": f"eval-fewshot {FROZEN} {FEW} --protocol crosspoint {MANY}",
    "eval_fewshot_point_mae": f"eval-fewshot {FROZEN} --way 2 --shot 3 --runs 2 --epochs 2 "
    f"--protocol point-mae {MANY}",
    "eval_all": f"eval-all {MACHINE} {CLOUDS} {PRETRAINED} --seeds 1 --no-baseline",
}
OTHERS = {
    "extract": f"extract {MACHINE} {CLOUDS} {PRETRAINED}",
    "inspect": f"inspect files/pretrained/checkpoints/last.pt {MACHINE} {CLOUDS} --clouds 4 "
    "--passes 1",
    "predict_embeddings": "predict data/scans --device cpu --threads 1 --kernels torch "
    f"--no-progress {PRETRAINED}",
    "predict_classes": "predict data/scans --device cpu --threads 1 --kernels torch "
    "--no-progress --weights files/cls/checkpoints/model.pt",
    "predict_parts": "predict data/scans --device cpu --threads 1 --kernels torch "
    "--no-progress --weights files/partseg/checkpoints/model.pt",
    "show": f"data show {CLOUDS} --limit 3 --no-progress",
    "extract_packed": f"extract {MACHINE} --data packed --data-root files/packed {PRETRAINED} "
    "--points 16 --sampling first",
    "convert": f"data convert {CLOUDS} --split test --no-progress",
}
EXTRACTED = ("extract", "extract_packed")
FILES_OF_THEIR_OWN = {"check": f"data check {CLOUDS} --points 32 --no-progress"}  # --out is a file
PRINTED = {  # JSON
    "check_json": f"data check {CLOUDS} --points 32 --no-progress --json",
    "doctor": "doctor --data-root data --cache-dir cache --json",
    "zoo": "zoo --json",
    "data_list": "data list --data-root data --json",
    "data_list_one": "data list modelnet40 --data-root data --json",
}


class Ended(NamedTuple):
    """Exit code and output of a command."""

    code: int
    out: str
    err: str


def call(folder: Path, words: str) -> Ended:
    """``pointssl WORDS`` in this process, with ``folder`` as the current one."""
    out, err = io.StringIO(), io.StringIO()
    before, arguments, threads = Path.cwd(), sys.argv, torch.get_num_threads()
    os.chdir(folder)
    sys.argv = ["pointssl", *words.split()]  # environment.json tells it
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main(sys.argv[1:])
    except SystemExit as end:
        code = end.code
    finally:
        os.chdir(before)
        sys.argv = arguments
        torch.set_num_threads(threads)
    assert isinstance(code, int), code
    return Ended(code, out.getvalue(), err.getvalue())


def worked(folder: Path, words: str) -> str:
    """What a command that must succeed printed."""
    ended = call(folder, words)
    assert ended.code == 0, f"pointssl {words}\n{ended.out}{ended.err}"
    return ended.out


class Place:
    """A folder in which the tiny runs take place, each when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._printed: dict[str, str] = {}
        kept_data.write_clouds(folder / "data" / "clouds")
        kept_data.write_clouds(folder / "data" / "many", train=24, test=20, pictures=False)
        kept_data.write_rooms(folder / "data" / "rooms")
        kept_data.write_scans(folder / "data" / "scans")
        shutil.copytree(KEPT, folder / "files")

    def run(self, name: str) -> Path:
        """The folder that the run of this name has filled."""
        out = self.folder / ("files" if name in RESUMED else "runs") / name
        if name not in self._printed:
            self._printed[name] = worked(self.folder, words_of(name))
        return out

    def printed(self, name: str) -> str:
        """What the run of this name printed."""
        self.run(name)
        return self._printed[name]

    def call(self, words: str) -> Ended:
        """``pointssl WORDS`` here."""
        return call(self.folder, words)

    def worked(self, words: str) -> str:
        """What ``pointssl WORDS`` printed; it must succeed."""
        return worked(self.folder, words)


def words_of(name: str) -> str:
    """The command line of a run, which writes into ``runs/NAME``."""
    for table, flag in ((PRETRAININGS, "--run-dir"), (FINETUNINGS, "--run-dir"),
                        (EVALUATIONS, "--out"), (OTHERS, "--out")):  # fmt: skip
        if name in table:
            return f"{table[name]} {flag} runs/{name}"
    if name in RESUMED:
        return RESUMED[name]
    if name in FILES_OF_THEIR_OWN:
        return f"{FILES_OF_THEIR_OWN[name]} --out runs/{name}/report.json"
    return PRINTED[name]


def names() -> Iterator[str]:
    """Of all runs."""
    tables = (PRETRAININGS, FINETUNINGS, RESUMED, EVALUATIONS, OTHERS, FILES_OF_THEIR_OWN, PRINTED)
    for table in tables:
        yield from table
