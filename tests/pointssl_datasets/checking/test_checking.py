"""What is found in clouds, pictures and folders."""

import dataclasses
import os

import numpy as np
import pytest
from cloud_files import random_cloud
from PIL import Image

from pointssl_datasets.base.errors import DataError
from pointssl_datasets.base.source import Source
from pointssl_datasets.checking.clouds import AuditState, audit_classes, audit_split, repeated
from pointssl_datasets.checking.content import content_digest, file_digest
from pointssl_datasets.checking.files import audit_files
from pointssl_datasets.checking.findings import KINDS, Findings
from pointssl_datasets.checking.images import check_images


def source_of(clouds, split="train", classes=("bed", "chair"), parts=(), **more):
    """Of dicts, or of errors that reading raises."""

    def read(index):
        if isinstance(clouds[index], Exception):
            raise clouds[index]
        return dict(clouds[index])

    names = [f"m{index}" for index in range(len(clouds))]
    return Source(
        dataset="mine", split=split, classes=classes, parts=parts, up_axis="y", key="", names=names,
        read=read, **more,
    )  # fmt: skip


def cloud(seed=0, **more):
    return {"xyz": random_cloud(seed=seed), "label": 0, **more}


def found(source, points=10, seen=None, findings=None):
    """Kind -> (count, examples)."""
    findings = findings or Findings("mine")
    audit_split(source, findings, seen or AuditState(), points=points)
    return {f.kind: (f.count, f.examples) for f in findings.sorted()}


def test_nothing_is_wrong_with_good_clouds():
    assert found(source_of([cloud(0), cloud(1)])) == {}


def with_row(row):
    xyz = random_cloud()
    xyz[7] = row
    return xyz


@pytest.mark.parametrize(
    ("wrong", "kind", "said"),
    [
        (DataError("/a/m.npy: truncated or damaged (short)"), "unreadable", "truncated"),
        (OSError(5, "Input/output error"), "unreadable", "Input/output"),
        (DataError("/a/m.npy: the file is empty"), "empty", "the file is empty"),
        (cloud(xyz=np.zeros((0, 3), "f4")), "empty", "0 points"),
        (cloud(xyz=random_cloud(1)), "empty", "1 points"),
        (cloud(xyz=np.zeros((3, 40), "f4")), "unreadable", "(3, 40)"),
        (cloud(xyz=with_row(np.nan)), "non-finite", "1 of 50 points"),
        (cloud(xyz=with_row(-np.inf)), "non-finite", "row 7"),
        (cloud(xyz=np.ones((9, 3), "f4")), "constant", "all 9 points"),
        (cloud(label=2), "label", "label 2 is not one of 2"),
        (cloud(label=-1), "label", "label -1"),
        (cloud(part=np.zeros(49, int)), "part", "found shape (49,)"),
        (cloud(part=np.full(50, 3)), "part", "values 3 to 3"),
        (cloud(part=np.full(50, -1)), "part", "-1"),
        (cloud(normals=np.zeros((50, 2), "f4")), "normals", "(50, 2)"),
        (cloud(normals=np.full((50, 3), np.nan, "f4")), "normals", "NaN"),
    ],
)
def test_an_error_of_one_cloud_is_found_and_can_be_left_out(wrong, kind, said):
    findings = Findings("mine")
    clouds = [cloud(1), wrong, cloud(2)]
    errors = found(source_of(clouds, parts=("a", "b")), findings=findings)
    errors.pop("fields", None)
    assert errors.keys() == {kind}
    count, (example,) = errors[kind]
    assert (count, example.split(":")[0]) == (1, "m1")
    assert said in example
    assert "/a/" not in example
    assert [(skip.dataset, skip.split, skip.name) for skip in findings.skips] == [
        ("mine", "train", "m1")
    ]
    assert KINDS[kind].severity == "error"


def test_five_examples_and_the_whole_count():
    clouds = [cloud(seed, label=9) for seed in range(12)]
    findings = Findings("mine")
    count, examples = found(source_of(clouds), findings=findings)["label"]
    assert (count, len(examples), len(findings.skips)) == (12, 5, 12)


def test_duplicates_and_two_classes():
    clouds = [cloud(0), cloud(1), cloud(0), cloud(1, label=1), cloud(0)]
    kinds = found(source_of(clouds))
    assert kinds["duplicate"] == (2, ("m2: is m0", "m4: is m0"))
    assert kinds["two-classes"] == (1, ("m3: is m1",))


def test_leakage_is_named_in_train():
    seen, findings = AuditState(), Findings("mine")
    found(source_of([cloud(0), cloud(1)], "test"), seen=seen, findings=findings)
    kinds = found(source_of([cloud(2), cloud(1), cloud(1)]), seen=seen, findings=findings)
    assert kinds["leakage"] == (2, ("m1: is m1 of test", "m2: is m1 of test"))
    assert {(skip.split, skip.name) for skip in findings.skips} == {
        ("train", "m1"),
        ("train", "m2"),
    }


def test_a_cloud_that_is_left_out_is_not_the_first_of_its_duplicates(tmp_path):
    (tmp_path / "a.png").write_text("not a picture")
    findings = Findings("mine")
    clouds = [cloud(0, images=[tmp_path / "a.png"]), cloud(0)]
    assert found(source_of(clouds), findings=findings).keys() == {"picture"}
    assert [skip.name for skip in findings.skips] == ["m0"]


def test_meshes_are_compared_as_files(tmp_path):
    for name, text in (("a", "OFF 1"), ("b", "OFF 1"), ("c", "OFF 2")):
        (tmp_path / f"{name}.off").write_text(text)
    clouds = [cloud(seed, mesh=tmp_path / f"{name}.off") for seed, name in enumerate("abc")]
    assert found(source_of(clouds))["duplicate"] == (1, ("m1: is m0",))


def slow_repeated(xyz):
    places = [tuple(point) for point in (xyz + np.float32(0)).tolist()]
    return max(map(places.count, places)), len(set(places))


@pytest.mark.parametrize("seed", range(5))
def test_repeated_against_a_slow_twin(seed):
    rng = np.random.default_rng(seed)
    xyz = rng.integers(-2, 3, (200, 3)).astype("f4") * np.float32(0.1)
    xyz[rng.random((200, 3)) < 0.2] *= -0.0
    assert repeated(xyz) == slow_repeated(xyz)
    assert repeated(random_cloud(300, seed)) == (1, 300)


def test_oddities():
    padded = np.concatenate([random_cloud(80), np.zeros((20, 3), "f4")])
    twice = np.repeat(random_cloud(60), 2, axis=0)
    clouds = [
        cloud(1), cloud(xyz=random_cloud(9, 2)), cloud(xyz=padded), cloud(xyz=twice),
        cloud(xyz=random_cloud(50, 3) + np.float32(5000)), cloud(xyz=random_cloud(50, 4) * 900),
    ]  # fmt: skip
    kinds = found(source_of(clouds))
    assert {kind: examples[0].split(":")[0] for kind, (_, examples) in kinds.items()} == {
        "few-points": "m1", "padding": "m2", "repeats": "m3", "off-centre": "m4", "scale": "m5",
    }  # fmt: skip
    assert all(KINDS[kind].severity != "error" for kind in kinds)


def test_fields_that_only_some_have():
    some = cloud(1, normals=np.eye(3, dtype="f4")[np.zeros(50, int)])
    kinds = found(source_of([some, cloud(2), cloud(3)]))
    assert kinds == {"fields": (2, ("1 of 3 clouds have normals, m1 has not",))}


def test_classes_between_the_splits():
    seen, findings = AuditState(), Findings("mine")
    names = ("bed", "chair", "lamp", "sofa")
    for split, labels in (("test", (0, 1)), ("train", (0, 2))):
        clouds = [cloud(100 * len(split) + label, label=label) for label in labels]
        found(source_of(clouds, split, names), seen=seen, findings=findings)
    audit_classes(names, seen, findings)
    kinds = {f.kind: (f.split, f.examples) for f in findings.sorted()}
    assert kinds == {
        "class-untrained": ("train", ("chair: 1 clouds in test",)),
        "class-untested": ("test", ("lamp: 1 clouds in train",)),
        "class-empty": ("", ("sofa",)),
    }


def test_imbalance():
    clouds = [cloud(seed, label=int(seed == 0)) for seed in range(22)]
    assert found(source_of(clouds))["imbalance"] == (1, ("21 of bed, 1 of chair",))
    assert found(source_of(clouds[:21])) == {}


def test_pictures(tmp_path):
    def save(name, pixels):
        Image.fromarray(pixels).save(tmp_path / name)
        return tmp_path / name

    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)
    good, same = save("good.png", noise), save("same.png", noise)
    tiny, blank = save("tiny.png", noise[:15]), save("blank.png", np.full((40, 40, 3), 9, "u1"))
    clear = save("clear.png", np.concatenate([noise, np.zeros((40, 40, 1), "u1")], axis=2))
    text, cut = tmp_path / "text.png", tmp_path / "cut.png"
    text.write_text("not a picture")
    cut.write_bytes(good.read_bytes()[:-900])
    seen = {}
    assert list(check_images([good, same], "m0", seen)) == []  # two views may be alike
    rest = [tiny, blank, clear, text, cut, same, tmp_path / "gone.png"]
    wrong = list(check_images(rest, "m1", seen))
    assert [kind for kind, _ in wrong] == [
        "tiny-picture", "blank-picture", "blank-picture", "picture", "picture", "same-picture",
        "picture",
    ]  # fmt: skip
    assert wrong[0][1] == "tiny.png is 40 x 15"
    assert wrong[1][1] == "blank.png is all #090909"
    assert wrong[5][1] == "same.png is also m0's"
    assert not any(str(tmp_path) in detail for _, detail in wrong[:6])


def test_digest_is_of_the_content(tmp_path):
    big = os.urandom(3_000_000)
    for name, content in (("a", big), ("b", big), ("c", big[:-1]), ("d", b"")):
        (tmp_path / name).write_bytes(content)
    a, b, c, d = (file_digest(tmp_path / name) for name in "abcd")
    assert a == b
    assert len({a, c, d}) == 3


def test_files(tmp_path):
    chair = tmp_path / "train" / "chair"
    chair.mkdir(parents=True)
    (tmp_path / "train" / "empty class").mkdir()
    for name in (
        "talk.pdf",
        "turn.MP4",
        "clip.mp4",
        "Thumbs.db",
        ".DS_Store",
        "net.pkl",
        "odd.qqq",
    ):
        (chair / name).write_bytes(b"xxxx")
    for name in ("m1.npy", "m1.png", "README.md", "LICENSE", "list.json"):
        (chair / name).write_bytes(b"xxxx")
    (chair / "m1.ply").write_bytes(b"xxxx")
    (chair / "more.zip").write_bytes(b"xxxx")
    (tmp_path / "download.zip").write_bytes(b"xxxx")
    (chair / "void.json").touch()
    (chair / "gone.npy").symlink_to(tmp_path / "nowhere.npy")
    (chair / "loop").symlink_to(tmp_path)  # must not be followed
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "x.exe").write_bytes(b"x")
    findings = Findings("folder")
    audit_files(tmp_path, "folder", findings)
    kinds = {f.kind: (f.count, f.examples) for f in findings.sorted()}
    assert kinds["foreign"][0] == 8
    foreign = dict(line.split(": ") for line in kinds.pop("foreign")[1])
    assert foreign["videos"] == "2, 8 bytes"
    assert foreign["litter of the operating system"] == "2, 8 bytes"
    assert kinds == {
        "archive": (1, ("train/chair/more.zip: 4 bytes",)),
        "empty-folder": (1, ("train/empty class",)),
        "zero-bytes": (1, ("train/chair/void.json",)),
        "same-stem": (1, ("train/chair/m1.ply: and m1.npy",)),
        "broken-link": (1, (f"train/chair/gone.npy: leads to {tmp_path / 'nowhere.npy'}",)),
    }
    assert findings.skips == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_files_that_may_not_be_read(tmp_path):
    (tmp_path / "a.npy").touch()
    (tmp_path / "dark").mkdir()
    (tmp_path / "a.npy").chmod(0)
    (tmp_path / "dark").chmod(0)
    findings = Findings("folder")
    try:
        audit_files(tmp_path, "folder", findings)
    finally:
        (tmp_path / "dark").chmod(0o700)
    (denied,) = (f for f in findings.sorted() if f.kind == "no-permission")
    assert denied.count == 2


def test_warnings_keep_five_names_only():
    findings = Findings("mine")
    for number in range(1000):
        findings.add("few-points", "train", f"m{number}", "3 points")
    (finding,) = findings.sorted()
    assert finding.count == 1000
    assert len(finding.examples) == 5
    assert findings.skips == []


def test_the_order_of_the_points_does_not_hide_a_repeat():
    cloud = random_cloud(50)
    other = np.random.default_rng(3).permutation(cloud)
    assert content_digest({"xyz": cloud}) == content_digest({"xyz": other})
    other[7, 2] += 1e-6
    assert content_digest({"xyz": cloud}) != content_digest({"xyz": other})


def test_clouds_of_one_name_are_found():
    source = dataclasses.replace(source_of([cloud(i) for i in range(3)]), names=["same"] * 3)
    findings = Findings("mine")
    audit_split(source, findings, AuditState(), points=10)
    (twice,) = (f for f in findings.sorted() if f.kind == "name")
    assert (twice.severity, twice.examples) == ("error", ("same: 3 clouds",))
    assert findings.skips == []
