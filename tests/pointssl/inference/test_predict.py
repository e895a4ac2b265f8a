"""`pointssl predict` on files of every kind: what it says, what it writes, and what it leaves."""

import csv
import json

import numpy as np
import pytest
import torch
from browser import browsers, needs_browser, opened, pixels
from in_process import call, refused, worked
from networks import PARTS, save_encoder, save_task
from PIL import Image

from pointssl.inference.network import load_network
from pointssl.inference.predicting import carry, category_of
from pointssl.metrics import shape_iou
from pointssl.recipes import predict as recipe
from pointssl.tasks.scene_evaluation import room_votes
from pointssl_datasets.base.axes import TO_Y_UP
from pointssl_datasets.base.source import Source
from pointssl_datasets.files.ply import read_ply
from pointssl_datasets.files.readers import read_cloud
from pointssl_datasets.packing.pack import unit_sphere
from pointssl_datasets.scenes.rooms import open_scenes
from pointssl_datasets.viewer import part_colours

POINTS = 32  # that the networks see
OF_A_RUN = ("config.yaml", "environment.json", "results.json")


def shape(seed, points=90):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(points, 3)) * (1, 3, 2) + (4, 0, 1)).astype(np.float32)


def write(folder, count=3, kinds=("chair", "table"), points=90):
    """``folder/KIND/mN.npy``, all different."""
    for kind in kinds:
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            np.save(folder / kind / f"m{number}.npy", shape(len(kind) * 10 + number, points))
    return folder


def predict(capfd, *words):
    return worked(capfd, "predict", *words, "--no-progress", "--device", "cpu", "--threads", 1)


def table(out):
    with open(out / "predictions.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def says(network, xyz, **more):
    """Probabilities of one cloud by the network itself."""
    with torch.no_grad():
        logits = network.outputs(torch.from_numpy(xyz)[None], **more)["logits"]
    return logits.softmax(dim=-1)[0].numpy()


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Checkpoints by kind."""
    folder = tmp_path_factory.mktemp("weights")
    return {
        "encoder": save_encoder(folder / "encoder.pt"),
        "normals": save_encoder(folder / "normals.pt", normals=True),
        "cls": save_task(folder / "cls.pt", "cls"),
        "parts": save_task(folder / "parts.pt", "partseg"),
        "untold": save_task(folder / "untold.pt", "partseg", category="none"),
        "rooms": save_task(
            folder / "rooms.pt", "semseg", feats=("colours", "place"), normalise="none"
        ),
    }


def test_classes_are_those_of_the_network(tmp_path, capfd, weights):
    # As many points as it sees: all are taken, in another order, which changes nothing.
    source, out = write(tmp_path / "in", 2, points=POINTS), tmp_path / "out"
    told = predict(capfd, source, "--weights", weights["cls"], "--out", out)
    network = load_network(weights["cls"])
    rows = table(out)
    assert [row["file"] for row in rows] == sorted(str(p) for p in source.rglob("*.npy"))
    with np.load(out / "predictions.npz") as kept:
        probabilities, files = kept["probabilities"], kept["files"]
        assert kept["classes"].tolist() == ["bed", "chair", "lamp"]
    for row, found, file in zip(rows, probabilities, files, strict=True):
        expected = says(network, unit_sphere(np.load(row["file"])))
        assert file == row["file"]
        assert np.abs(found - expected).max() < 1e-5
        order = np.argsort(-expected)
        assert [row["class"], row["class_2"]] == [network.classes[k] for k in order[:2]]
        assert float(row["probability"]) == pytest.approx(expected.max(), abs=1e-4)
    right = sum(row["class"] == "chair" for row in rows if row["folder_class"] == "chair")
    assert f"2 files lie in folders called after a class: {right} are predicted so" in told
    assert {p.name for p in out.iterdir()} == {
        "predictions.csv", "predictions.html", "predictions.npz", "predictions.png", *OF_A_RUN
    }  # fmt: skip
    results = json.loads((out / "results.json").read_text())
    assert results["config"]["weights"] == str(weights["cls"])
    found = {key: results["results"][key] for key in ("task", "files", "predicted", "failed")}
    assert found == {"task": "cls", "files": len(files), "predicted": len(files), "failed": 0}
    assert results["results"]["scores"]["folder"] == right / 2


def test_embeddings_and_their_nearest(tmp_path, capfd, weights):
    source, out = write(tmp_path / "in", 2, points=POINTS), tmp_path / "out"
    np.save(source / "twin.npy", 3 * np.load(source / "chair" / "m1.npy") + 2)
    predict(capfd, source, "--weights", weights["encoder"], "--out", out)
    network = load_network(weights["encoder"])
    with np.load(out / "predictions.npz") as kept:
        for file, found in zip(kept["files"], kept["embeddings"], strict=True):
            with torch.no_grad():
                cloud = torch.from_numpy(unit_sphere(np.load(file)))[None]
                expected = network.outputs(cloud)["cloud"][0].numpy()
            assert np.abs(found - expected).max() < 1e-4
    twin = next(row for row in table(out) if row["file"].endswith("twin.npy"))
    assert twin["nearest"].endswith("chair/m1.npy")
    assert float(twin["similarity"]) > 0.9999


def test_every_point_of_the_file_has_a_label_in_the_axes_of_the_file(tmp_path, capfd, weights):
    source, out = write(tmp_path / "in", 2, points=POINTS), tmp_path / "out"
    predict(capfd, source, "--weights", weights["parts"], "--up-axis", "z", "--out", out)
    network = load_network(weights["parts"])
    for row in table(out):
        given = np.load(row["file"])
        kind = network.classes.index(row["category"])
        allowed = np.array(network.parts_of[kind])
        upright = unit_sphere(given) @ TO_Y_UP["z"].T
        scores = says(network, upright, category=torch.tensor([kind]))[:, allowed]
        expected = allowed[scores.argmax(axis=1)]
        ply = read_ply(out / row["ply"])
        assert np.array_equal(ply.columns("x", "y", "z"), given)
        assert np.array_equal(ply.vertices["label"], expected)
        colours = part_colours(network.parts)[expected]
        assert np.array_equal(ply.columns("red", "green", "blue"), colours)
        with np.load((out / row["ply"]).with_suffix(".npz")) as kept:
            assert np.array_equal(kept["label"], expected)
            sure = scores.max(axis=1) / scores.sum(axis=1)
            assert np.abs(kept["probability"] - sure).max() < 1e-4
            assert kept["parts"].tolist() == list(network.parts)
        for number, part in enumerate(network.parts):
            share = f"{(expected == number).mean():.6f}" if number in allowed else ""
            assert row[part] == share


def test_scale_place_and_order_of_the_axes_do_not_matter(tmp_path, capfd, weights):
    upright = write(tmp_path / "up", 1, ("chair",))
    xyz = np.load(upright / "chair" / "m0.npy")
    lying = tmp_path / "lying" / "chair"
    lying.mkdir(parents=True)
    np.save(lying / "m0.npy", 5 * xyz @ TO_Y_UP["z"] + 9)  # z-up, larger, elsewhere
    for folder, axis in ((upright, "y"), (lying.parent, "z")):
        predict(capfd, folder, "--weights", weights["parts"], "--up-axis", axis,
                "--out", tmp_path / axis)  # fmt: skip
    labels = [read_cloud(tmp_path / axis / "clouds" / "chair_m0.ply")["part"] for axis in "yz"]
    assert (labels[0] == labels[1]).mean() > 0.97
    assert len(np.unique(labels[0])) > 1


def test_labels_are_carried_to_the_nearest_point_that_was_seen():
    rng = np.random.default_rng(0)
    xyz = rng.normal(size=(200, 3)).astype(np.float32)
    samples = []
    for _ in range(3):
        rows = rng.choice(200, 40, replace=False)
        samples.append((xyz[rows], rng.dirichlet(np.ones(5), 40).astype(np.float32)))
    for allowed in (None, [1, 3]):
        label, probability = carry(xyz, samples, allowed)
        for point, found, sure in zip(xyz, label, probability, strict=True):
            mean = np.zeros(5)
            for seen, values in samples:
                mean += values[np.square(seen - point).sum(axis=1).argmin()]
            numbers = [0, 1, 2, 3, 4] if allowed is None else allowed
            best = max(numbers, key=lambda k: mean[k])
            assert found == best
            assert sure == pytest.approx(mean[best] / mean[numbers].sum(), abs=1e-5)


def test_votes_are_means_over_samplings(tmp_path, capfd, weights):
    source = write(tmp_path / "in", 1, ("chair",))
    found = {}
    for votes in (1, 2, 5):
        out = tmp_path / f"out{votes}"
        predict(capfd, source, "--weights", weights["cls"], "--votes", votes, "--out", out)
        with np.load(out / "predictions.npz") as kept:
            found[votes] = kept["probabilities"][0]
    network, xyz = load_network(weights["cls"]), np.load(source / "chair" / "m0.npy")
    passes = []
    for vote in range(5):
        rows = np.random.default_rng([0, 0, vote, 0]).choice(len(xyz), POINTS, replace=False)
        passes.append(says(network, unit_sphere(xyz)[rows]))
    for votes, probabilities in found.items():
        assert np.abs(probabilities - np.mean(passes[:votes], axis=0)).max() < 1e-5
    assert np.abs(found[1] - found[5]).max() > 1e-5
    line = refused(capfd, 2, "predict", source, "--weights", weights["cls"], "--votes", 2,
                   "--sampling", "first", "--out", tmp_path / "no")  # fmt: skip
    assert "--votes 2 needs --sampling random" in line


def test_a_file_does_not_depend_on_those_beside_it(tmp_path, capfd, weights):
    source = write(tmp_path / "in", 3)
    for name, batch in (("one", 1), ("four", 4)):
        predict(capfd, source, "--weights", weights["cls"], "--batch-size", batch,
                "--out", tmp_path / name)  # fmt: skip
    predict(capfd, source / "table", "--weights", weights["cls"], "--out", tmp_path / "half")
    rows = {name: {row["file"]: row for row in table(tmp_path / name)}
            for name in ("one", "four", "half")}  # fmt: skip
    assert len(rows["half"]) == 3
    for other in ("four", "half"):
        for file, row in rows[other].items():
            alone = rows["one"][file]
            assert row["class"] == alone["class"]
            assert float(row["probability"]) == pytest.approx(float(alone["probability"]), abs=1e-4)


def test_where_the_category_comes_from():
    classes = ["chair", "table"]
    assert category_of(("Table", "chair"), classes, None) == 1
    assert category_of(("old", "chair"), classes, None) == 0
    assert category_of(("table",), classes, 0) == 0
    assert category_of(("things",), classes, None) is None
    assert category_of(("things",), ["mug"], None) == 0  # there is but one
    assert category_of(("things",), [], None) is None
    # ShapeNetPart's folders; those of classes that are not known count no more than others.
    assert category_of(("04379243", "chair"), classes, None) == 1
    assert category_of(("03001627",), ["03001627", "chair"], None) == 0  # by its own name first
    assert category_of(("03797390", "chair"), classes, None) == 0  # a mug
    assert category_of(("03001627",), ["Chair", "sofa"], None) is None  # another class, maybe


def test_the_category_can_be_given_and_must_be_known(tmp_path, capfd, weights):
    source, out = write(tmp_path / "in", 1, ("things",)), tmp_path / "out"
    words = ("predict", source, "--weights", weights["parts"], "--out", out)
    line = refused(capfd, 2, *words)
    assert "give --category, or train with --category none" in line
    assert "it knows chair, table" in refused(capfd, 2, *words, "--category", "mug")
    assert not out.exists()
    predict(capfd, source, "--weights", weights["parts"], "--out", out, "--category", "Table")
    assert set(read_cloud(out / "clouds" / "things_m0.ply")["part"]) <= {3, 4}
    # One that is not told knows no bounds, unless it is known for once.
    predict(capfd, source, "--weights", weights["untold"], "--out", tmp_path / "free")
    free = read_cloud(tmp_path / "free" / "clouds" / "things_m0.ply")["part"]
    predict(capfd, source, "--weights", weights["untold"], "--out", tmp_path / "kept",
            "--category", "chair" if free.min() > 2 else "table")  # fmt: skip
    kept = read_cloud(tmp_path / "kept" / "clouds" / "things_m0.ply")["part"]
    assert not set(free) & set(kept)
    line = refused(capfd, 2, "predict", source, "--weights", weights["cls"], "--category", "bed",
                   "--out", out)  # fmt: skip
    assert "this network knows no parts" in line


def test_a_network_without_category_answers_freely_whatever_the_folder_is_called(
    tmp_path, capfd, weights
):
    source, network = write(tmp_path / "in", 2, points=POINTS), load_network(weights["untold"])
    words = (source, "--weights", weights["untold"])
    told = predict(capfd, *words, "--out", tmp_path / "free")
    assert "the best of all 5 parts (trained with --category none)" in told
    foreign = 0
    for row in table(tmp_path / "free"):
        expected = says(network, unit_sphere(np.load(row["file"]))).argmax(axis=1)
        found = read_cloud(tmp_path / "free" / row["ply"])
        assert np.array_equal(found["part"], expected)
        assert row["category"] in ("chair", "table")
        for number, part in enumerate(network.parts):  # none is blank
            assert float(row[part]) == pytest.approx((expected == number).mean(), abs=1e-6)
        kind = network.classes.index(row["category"])
        foreign += int((~np.isin(expected, network.parts_of[kind])).sum())
        # A chair's leg and a table's are told apart: in the file too.
        colours = {tuple(rgb) for rgb in found["colours"].tolist()}
        assert len(colours) == len(np.unique(expected))
    assert foreign > 0
    told = predict(capfd, *words, "--out", tmp_path / "kept", "--category", "table")
    assert "the best of the parts of table (--category)" in told
    for row in table(tmp_path / "kept"):
        assert set(read_cloud(tmp_path / "kept" / row["ply"])["part"]) <= {3, 4}
    told = predict(capfd, source, "--weights", weights["parts"], "--out", tmp_path / "told")
    assert "the best of the parts of each file's category" in told


def test_what_is_scored_where_the_answer_is_free(tmp_path, capfd, weights):
    folder, out = tmp_path / "in" / "chair", tmp_path / "out"
    folder.mkdir(parents=True)
    truth = np.random.default_rng(0).integers(0, 3, 90)
    np.savez(folder / "known.npz", xyz=shape(1), part=truth)
    predict(capfd, folder.parent, "--weights", weights["untold"], "--out", out)
    found = read_cloud(out / "clouds" / "chair_known.ply")["part"]
    iou = shape_iou([found], [truth], np.array([0]), [[0, 1, 2], [3, 4]])[0]
    assert float(table(out)[0]["accuracy"]) == pytest.approx((found == truth).mean(), abs=1e-6)
    assert float(table(out)[0]["iou"]) == pytest.approx(iou, abs=1e-6)


def test_a_network_of_one_category_says_so(tmp_path, capfd):
    source, note = write(tmp_path / "in", 1, ("sofa",)), "note: the network knows chair alone"
    alone = save_task(
        tmp_path / "w.pt", "partseg", classes=["chair"], parts=["chair/back", "chair/leg"],
        parts_of=[[0, 1]], task_args={"parts": 2, "categories": 1},
    )  # fmt: skip
    words = (source, "--weights", alone, "--out", tmp_path / "out")
    told = predict(capfd, *words)
    assert f"{note}: every file is taken for one" in told
    assert "the best of the parts of chair\n" in told
    assert [row["category"] for row in table(tmp_path / "out")] == ["chair"]
    assert note not in predict(capfd, *words, "--category", "chair")


def test_labels_in_a_seventh_column_are_compared(tmp_path, capfd, weights):
    """A shape of ShapeNetPart as it is unpacked."""
    folder, out = tmp_path / "in" / "04379243", tmp_path / "out"
    folder.mkdir(parents=True)
    normals = shape(2) / np.linalg.norm(shape(2), axis=1, keepdims=True)
    truth = np.random.default_rng(0).integers(3, 5, 90)
    np.savetxt(folder / "a.txt", np.column_stack([shape(1), normals, truth]), fmt="%.6f")
    told = predict(capfd, folder.parent, "--weights", weights["parts"], "--out", out)
    right = (read_cloud(out / "clouds" / "04379243_a.ply")["part"] == truth).mean()
    assert f"1 files have labels: {100 * right:.1f} % of the points right" in told
    assert table(out)[0]["category"] == "table"


def test_what_an_earlier_run_left_goes(tmp_path, capfd, weights):
    source, out = write(tmp_path / "in", 1), tmp_path / "out"
    predict(capfd, source, "--weights", weights["cls"], "--out", out)
    mine = {out / name for name in ("notes.html", "more.npz", "predictions.txt")}
    for path in mine:
        path.write_text("mine")
    (out / "predictions.csv").write_text("old")
    ended = call(capfd, "predict", tmp_path / "in" / "chair" / "m0.npy", "--weights",
                 weights["normals"], "--out", out, "--no-progress")  # fmt: skip
    assert ended.code == 1  # it takes normals: nothing came of it, and nothing goes
    assert (out / "predictions.npz").exists()
    assert (out / "predictions.html").exists()
    predict(capfd, source, "--weights", weights["parts"], "--out", out, "--limit", 0)
    assert set(out.iterdir()) == {
        *mine, out / "predictions.csv", out / "clouds", *(out / name for name in OF_A_RUN)
    }  # fmt: skip
    assert len(table(out)) == 2


def test_bad_files_among_good_ones(tmp_path, capfd, weights):
    source, out = write(tmp_path / "in", 2), tmp_path / "out"
    (source / "chair" / "broken.npy").write_bytes(b"no array")
    np.save(source / "table" / "flat.npy", np.full((9, 3), np.nan))
    write(source, 1, ("things",))
    ended = call(capfd, "predict", source, "--weights", weights["parts"], "--out", out,
                 "--no-progress")  # fmt: skip
    assert ended.code == 1
    assert ended.err.count("\n") == 1
    assert "3 of 7 files could not be predicted" in ended.err
    skipped = [line for line in ended.out.splitlines() if line.startswith("skipped: ")]
    assert len(skipped) == 3
    assert all(any(name in line for line in skipped) for name in ("broken", "flat", "things"))
    assert len(table(out)) == 4
    text = (out / "predictions.html").read_text(encoding="utf-8")
    assert "4 of 7 files (3 could not be predicted), predicted by parts.pt" in text
    assert len(list((out / "clouds").glob("*.ply"))) == 4
    assert (out / "predictions.html").exists()


def test_nothing_is_written_where_nothing_can_be_predicted(tmp_path, capfd, weights):
    (tmp_path / "bad.npy").write_bytes(b"no array")
    ended = call(capfd, "predict", tmp_path / "bad.npy", "--weights", weights["cls"],
                 "--out", tmp_path / "out", "--no-progress")  # fmt: skip
    assert ended.code == 1
    assert "not one of 1 files could be predicted" in ended.err
    assert list((tmp_path / "out").iterdir()) == []


def test_outputs_that_are_not_finite_are_no_prediction(tmp_path, capfd):
    path = save_task(tmp_path / "w.pt", "cls")
    content = torch.load(path, weights_only=True)
    content["method"]["head.out.bias"][0] = np.nan
    torch.save(content, path)
    source = write(tmp_path / "in", 1)
    ended = call(capfd, "predict", source, "--weights", path, "--out", tmp_path / "out",
                 "--no-progress")  # fmt: skip
    assert ended.code == 1
    assert ended.out.count("is not finite") == 2


def test_folders_are_searched_and_what_is_ignored_is_told(tmp_path, capfd, weights):
    source = write(tmp_path / "in", 1)
    deep = source / "a" / "b"
    deep.mkdir(parents=True)
    np.save(deep / "m.npy", shape(5))
    (deep / "loop").symlink_to(source, target_is_directory=True)
    (source / ".hidden.npy").write_bytes(b"")
    (source / "notes.md").write_text("")
    (deep / "photo.jpg").write_bytes(b"")
    out = source / "out"
    for _ in range(2):  # what the first run writes into the folder is no input of the second
        told = predict(capfd, source, "--weights", weights["untold"], "--out", out)
        assert "ignored 2 other files (1 .md, 1 .jpg)" in told
        assert len(table(out)) == 3


def test_two_files_of_one_name_have_two_results(tmp_path, capfd, weights):
    one, two = write(tmp_path / "one", 1, ("chair",)), write(tmp_path / "two", 1, ("chair",))
    (one / "chair" / "m0.txt").write_text("\n".join("%f %f %f" % tuple(p) for p in shape(77)))  # noqa: UP031
    out = tmp_path / "out"
    words = (one, two, one / "chair" / "m0.npy")
    predict(capfd, *words, "--weights", weights["parts"], "--out", out)
    rows = table(out)
    assert len(rows) == len({row["ply"] for row in rows}) == 3  # a file given twice is one
    for row in rows:
        assert np.array_equal(read_cloud(out / row["ply"])["xyz"], read_cloud(
            next(p for p in tmp_path.rglob("m0.*") if str(p) == row["file"]))["xyz"])  # fmt: skip


def test_input_is_never_overwritten(tmp_path, capfd, weights):
    source = write(tmp_path / "in", 1, ("chair",))
    predict(capfd, source, "--weights", weights["parts"], "--out", tmp_path)
    before = (tmp_path / "clouds" / "chair_m0.ply").read_bytes()
    line = refused(
        capfd, 2, "predict", tmp_path / "clouds" / "chair_m0.ply", "--category", "chair",
        "--weights", weights["parts"], "--out", tmp_path,
    )  # fmt: skip
    # It is called chair_m0 again, and would be written over itself.
    assert "is one of the files to predict; name another" in line
    assert (tmp_path / "clouds" / "chair_m0.ply").read_bytes() == before


def test_labels_in_the_file_are_compared(tmp_path, capfd, weights):
    folder, out = tmp_path / "in" / "chair", tmp_path / "out"
    folder.mkdir(parents=True)
    truth = np.random.default_rng(0).integers(0, 3, 90)
    np.savez(folder / "known.npz", xyz=shape(1), part=truth)
    np.savez(folder / "other.npz", xyz=shape(2), part=truth + 1)  # 3 is no part of a chair
    np.save(folder / "plain.npy", shape(3))
    told = predict(capfd, folder.parent, "--weights", weights["parts"], "--out", out)
    rows = {row["file"].rpartition("/")[2]: row for row in table(out)}
    found = read_cloud(out / "clouds" / "chair_known.ply")["part"]
    accuracy = (found == truth).mean()
    iou = shape_iou([found], [truth], np.array([0]), [[0, 1, 2], [3, 4]])[0]
    assert float(rows["known.npz"]["accuracy"]) == pytest.approx(accuracy, abs=1e-6)
    assert float(rows["known.npz"]["iou"]) == pytest.approx(iou, abs=1e-6)
    assert rows["other.npz"]["accuracy"] == rows["plain.npy"]["accuracy"] == ""
    assert f"1 files have labels: {100 * accuracy:.1f} % of the points right" in told


def test_normals(tmp_path, capfd, weights):
    source, out = write(tmp_path / "in", 1, ("chair",)), tmp_path / "out"
    words = (source, "--weights", weights["normals"], "--out", out)
    ended = call(capfd, "predict", *words, "--no-progress")
    assert ended.code == 1
    assert "takes normals, and the file has none: add them, or give --estimate-normals" in ended.out
    predict(capfd, *words, "--estimate-normals")
    mesh = tmp_path / "mesh.off"
    mesh.write_text("OFF\n4 4 0\n0 0 0\n1 0 0\n0 2 0\n0 0 3\n3 0 2 1\n3 0 1 3\n3 0 3 2\n3 1 2 3\n")
    predict(capfd, mesh, "--weights", weights["normals"], "--out", out, "--mesh-points", 50)
    assert [row["points"] for row in table(out)] == ["50"]


def test_a_room_is_labelled_by_its_blocks(tmp_path, capfd, weights):
    rng = np.random.default_rng(0)
    xyz = (rng.random((300, 3)) * (2.5, 1.6, 2.0)).astype(np.float32)  # z-up, metres
    colours = rng.random((300, 3)).astype(np.float32)
    np.savez(tmp_path / "room.npz", xyz=xyz, colours=colours)
    words = (tmp_path / "room.npz", "--weights", weights["rooms"])
    note = "note: files are taken to stand on y; those of S3DIS stand on z (--up-axis z)"
    assert note in predict(capfd, *words, "--out", tmp_path / "lying")
    told = predict(capfd, *words, "--up-axis", "z", "--out", tmp_path / "out")
    assert "note: files are" not in told
    found = read_cloud(tmp_path / "out" / "clouds" / "room.ply")["part"]
    room = {"xyz": xyz, "colours": colours, "part": np.zeros(300, np.int64)}
    source = Source(dataset="d", split="s", classes=(), up_axis="z", key="", names=["room"],
                    read=lambda _: room)  # fmt: skip
    votes = room_votes(
        load_network(weights["rooms"]).module, open_scenes(source, 1.0, 0.5).read(0), 3,
        torch.device("cpu"), points=POINTS, channels="xyz-rgb-place", seed=0, room=0,
    )  # fmt: skip
    assert np.array_equal(found, votes.argmax(dim=1).numpy())
    assert len(np.unique(found)) > 1
    np.save(tmp_path / "grey.npy", xyz)
    ended = call(capfd, "predict", tmp_path / "grey.npy", "--weights", weights["rooms"],
                 "--out", tmp_path / "no", "--no-progress")  # fmt: skip
    assert "takes colours, and the file has none" in ended.out


def test_no_more_is_in_memory_than_a_batch_and_what_is_shown(tmp_path, capfd, weights, monkeypatch):
    import weakref

    source, out = write(tmp_path / "in", 6), tmp_path / "out"
    alive: list[weakref.ref] = []
    most = 0
    read = recipe.read_ready

    def counted(*args, **kwargs):
        nonlocal most
        ready = read(*args, **kwargs)
        alive.append(weakref.ref(ready.xyz))
        most = max(most, sum(ref() is not None for ref in alive))
        return ready

    monkeypatch.setattr(recipe, "read_ready", counted)
    predict(capfd, source, "--weights", weights["parts"], "--out", out, "--batch-size", 2,
            "--limit", 3)  # fmt: skip
    assert len(alive) == 12
    assert most <= 5  # a batch, the batch before it, and the file that is being read
    assert (out / "predictions.html").read_text(encoding="utf-8").count('"xyz":"') == 3


def test_the_smallest_clouds(tmp_path, capfd, weights):
    folder, out = tmp_path / "chair", tmp_path / "out"
    folder.mkdir()
    for number in (2, 3, 5):
        np.save(folder / f"m{number}.npy", shape(number, number))
    predict(capfd, folder, "--weights", weights["parts"], "--out", out)
    assert [row["points"] for row in table(out)] == ["2", "3", "5"]


def test_without_pictures(tmp_path, capfd, weights):
    source, out = write(tmp_path / "in", 1), tmp_path / "out"
    predict(capfd, source, "--weights", weights["cls"], "--out", out, "--limit", 0)
    assert {p.name for p in out.iterdir()} == {"predictions.csv", "predictions.npz", *OF_A_RUN}


@pytest.mark.parametrize(
    ("words", "code", "line"),
    [
        (("nowhere",), 1, "nowhere: no such file or folder"),
        (("empty",), 1, "empty: no clouds or meshes"),
        (("in", "--out", "in"), 2, "--out in: it is the folder of the input (in); name another"),
        (("in/chair", "in", "--out", "./in/"), 2, "it is the folder of the input (in)"),
        ((), 2, "FILES is missing"),
        (("in", "--weights", "nowhere.pt"), 1, "no checkpoint at nowhere.pt"),
        (("in", "--out", "file"), 1, "--out file is a file: name a folder"),
        (("in", "--votes", "0"), 2, "--votes 0"),
    ],
)
def test_wrong_words(tmp_path, capfd, monkeypatch, weights, words, code, line):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "in", 1)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("mine")
    if "--weights" not in words:
        words = (*words, "--weights", weights["cls"])
    assert line in refused(capfd, code, "predict", *words, "--no-progress")
    assert (tmp_path / "file").read_text() == "mine"
    assert not (tmp_path / "runs").exists()


def near(values, colour):
    """How many pixels have the hue of ``colour``."""
    length = np.linalg.norm(values, axis=-1)
    cosine = values @ (colour / np.linalg.norm(colour)) / np.maximum(length, 1)
    return int(((cosine > 0.996) & (length > 40) & (np.ptp(values, axis=-1) > 40)).sum())


@needs_browser
def test_the_page_turns_and_its_legend_switches_parts_off(tmp_path, capfd, weights):
    folder, out = tmp_path / "in" / "chair", tmp_path / "out"
    folder.mkdir(parents=True)
    xyz = shape(1, 900)
    truth = (xyz[:, 1] > 0).astype(int)
    np.savez(folder / "known.npz", xyz=xyz, part=truth)
    predict(capfd, tmp_path / "in", "--weights", weights["parts"], "--out", out)
    with Image.open(out / "predictions.png") as sheet:
        assert sheet.size[0] >= 900
    found = read_cloud(out / "clouds" / "chair_known.ply")["part"]
    most = int(np.bincount(found).argmax())
    colour = part_colours([f"chair/{p}" for p in PARTS["chair"]])[most].astype(int)
    with browsers() as launch, opened(launch(), out / "predictions.html",
                                      reduced_motion="reduce") as page:  # fmt: skip

        def stage():
            page.evaluate("new Promise(r => requestAnimationFrame(() => requestAnimationFrame(r)))")
            return pixels(page.locator("#canvas"))[8:-8, 8:-8]

        assert page.locator("#colour").input_value() == "predicted"
        page.locator(".card").first.click()
        page.locator("#canvas").wait_for()
        assert page.locator("#mode").input_value() == "predicted"
        legend = page.locator("#legend")
        names = [legend.locator("button span:nth-child(2)").nth(i).inner_text()
                 for i in range(legend.locator("button").count())]  # fmt: skip
        assert names == [PARTS["chair"][part] for part in np.unique(found)]
        assert legend.locator("h3").inner_text().casefold() == "predicted parts"
        assert "of the points right" in page.locator("#caption").inner_text()
        modes = page.locator("#mode option").all_inner_texts()
        assert modes[:3] == ["part", "predicted part", "wrong parts"]
        before = stage()
        assert near(before, colour) > 500
        page.get_by_role("button", name=PARTS["chair"][most]).click()
        without = stage()
        assert near(without, colour) < 0.05 * near(before, colour)
        page.get_by_role("button", name=PARTS["chair"][most]).click()
        place = page.locator("#canvas").bounding_box()
        x, y = place["x"] + place["width"] / 2, place["y"] + place["height"] / 2
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x + 100, y)
        page.mouse.up()
        assert (stage() != before).any(axis=-1).mean() > 0.02
