"""Episodes: drawn, kept, read back and refused; and what an SVM makes of them."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from pointssl.probes.episodes import (
    Episode,
    draw_episodes,
    locate,
    read_episodes,
    write_episodes,
)
from pointssl.probes.fewshot import FEWSHOT, score_episode, summarise
from pointssl.reports.fewshot import APART, format_fewshot
from pointssl_datasets.base.errors import DataError, UsageError, UserError

CLASSES = ("bed", "chair", "lamp", "sofa")


def clouds(split, counts, name="toys", fingerprint="f"):
    """What episodes need to know of a dataset."""
    labels = np.random.default_rng(len(split)).permutation(np.repeat(np.arange(4), counts))
    names = [f"{split}-{CLASSES[label]}-{row}" for row, label in enumerate(labels)]
    return SimpleNamespace(
        name=name, split=split, classes=CLASSES, labels=labels, names=names,
        fingerprint=f"{split} {fingerprint}",
    )  # fmt: skip


TRAIN, TEST = clouds("train", (12, 9, 8, 30)), clouds("test", (6, 3, 7, 1))
STRICT = {"protocol": "strict", "query_split": "test", "queries": 5, "at_least": 1}
CROSSPOINT = {"protocol": "crosspoint", "query_split": "train", "queries": 5, "at_least": 5}


def draw(settings=((2, 3), (3, 2)), train=TRAIN, test=TEST, **changes):
    given = {**STRICT, "runs": 4, "seed": 0, **changes}
    return draw_episodes(train, test, settings, **given)


@pytest.mark.parametrize("kind", [STRICT, CROSSPOINT])
def test_episodes_are_what_they_say(kind):
    document, _ = draw(**kind)
    split = kind["query_split"]
    asked = TRAIN if split == "train" else TEST
    for setting in document["settings"]:
        assert len(setting["episodes"]) == 4
        for episode in setting["episodes"]:
            assert len(set(episode["classes"])) == setting["way"]
            assert len(set(episode["support"])) == setting["way"] * setting["shot"]
            for name in episode["classes"]:
                support = [n for n in episode["support"] if n.split("-")[1] == name]
                query = [n for n in episode["query"] if n.split("-")[1] == name]
                there = int((asked.labels == CLASSES.index(name)).sum())
                assert len(support) == setting["shot"]
                left = there - setting["shot"] if split == "train" else there
                assert len(query) == min(5, left)
            assert all(n.startswith("train-") for n in episode["support"])
            assert all(n.startswith(f"{split}-") for n in episode["query"])
            assert not {*episode["support"]} & {*episode["query"]}


def test_a_seed_fixes_episodes_and_more_runs_change_none():
    document, _ = draw()
    assert draw()[0] == document
    longer, _ = draw(settings=((3, 2), (2, 3)), runs=9)
    for setting in document["settings"]:
        (same,) = [s for s in longer["settings"] if (s["way"], s["shot"]) ==
                   (setting["way"], setting["shot"])]  # fmt: skip
        assert same["episodes"][:4] == setting["episodes"]
        assert len({json.dumps(episode) for episode in same["episodes"]}) == 9
    assert draw(seed=1)[0]["settings"] != document["settings"]


def test_classes_with_too_few_shapes_are_left_out_and_named():
    document, notes = draw(settings=((2, 9),))
    assert notes == ["2-way 9-shot without classes of too few shapes: lamp"]
    assert all("lamp" not in e["classes"] for e in document["settings"][0]["episodes"])
    _, notes = draw(settings=((2, 5),), **CROSSPOINT)
    assert notes == ["2-way 5-shot without classes of too few shapes: chair, lamp"]
    said = "4-way 9-shot can't be: 3 of 4 classes of toys have 9 support shapes in train and 1"
    with pytest.raises(DataError, match=said):
        draw(settings=((4, 9),))
    document, notes = draw(settings=((4, 9), (4, 8)), optional=True)
    assert [(s["way"], s["shot"]) for s in document["settings"]] == [(4, 8)]
    assert notes[0].startswith(f"left out: {said}")
    with pytest.raises(DataError, match=r"can't be: .*\(and so for 1 other settings\)"):
        draw(settings=((5, 1), (6, 1)), optional=True)
    twins = clouds("train", (12, 9, 8, 30))
    twins.names[3] = twins.names[4]
    with pytest.raises(DataError, match="several clouds of train have one name"):
        draw(train=twins)


@pytest.mark.parametrize("kind", [STRICT, CROSSPOINT])
def test_a_file_of_episodes_survives_the_disk(tmp_path, kind):
    document, _ = draw(**kind)
    path = tmp_path / "sub" / "episodes.json"
    write_episodes(document, path)
    assert json.loads(path.read_text()) == document
    again = read_episodes(path, TRAIN, TEST, kind["protocol"], kind["query_split"])
    assert again == document
    asked = TRAIN if kind["query_split"] == "train" else TEST
    for (way, shot, episodes), setting in zip(
        locate(again, TRAIN, TEST, "here"), document["settings"], strict=True
    ):
        assert (way, shot) == (setting["way"], setting["shot"])
        for found, written in zip(episodes, setting["episodes"], strict=True):
            assert [TRAIN.names[row] for row in found.support] == written["support"]
            assert [asked.names[row] for row in found.query] == written["query"]
            of_support = [found.classes[label] for label in found.support_y]
            assert of_support == [n.split("-")[1] for n in written["support"]]
            of_query = [found.classes[label] for label in found.query_y]
            assert of_query == [n.split("-")[1] for n in written["query"]]


def test_a_file_for_something_else_is_refused(tmp_path):
    path = tmp_path / "episodes.json"
    document, _ = draw()
    write_episodes(document, path)
    read = lambda **c: read_episodes(  # noqa: E731
        path, **{"train": TRAIN, "test": TEST, "protocol": "strict", "query_split": "test", **c}
    )
    assert read()
    for changed, said in (
        ({"train": clouds("train", (12, 9, 8, 30), name="other")}, "its dataset is 'toys', here"),
        ({"test": clouds("test", (6, 3, 7, 1), fingerprint="g")}, "made for other clouds than"),
        ({"protocol": "point-mae"}, "its protocol is 'strict', here it is 'point-mae'"),
    ):
        with pytest.raises(UsageError, match=said):
            read(**changed)
    write_episodes({**document, "version": 2}, path)
    with pytest.raises(UsageError, match="its version is 2, here it is 1"):
        read()
    for text, said in (
        ("{", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ("[]", "not a file of episodes"),
        ("{}", "not a file"),
    ):
        path.write_text(text)
        with pytest.raises(UsageError, match=said):
            read()
    path.unlink()
    with pytest.raises(UsageError, match=r"--episodes .*: No such file"):
        read()


def spoilt(change):
    document = json.loads(json.dumps(draw()[0]))
    change(document["settings"][1], document["settings"][1]["episodes"][2])
    return document


@pytest.mark.parametrize(
    "change",
    [
        lambda setting, episode: episode["support"].pop(),
        lambda setting, episode: episode["support"].__setitem__(0, episode["support"][1]),
        lambda setting, episode: episode["support"].__setitem__(0, "train-nobody"),
        lambda setting, episode: episode["query"].clear(),
        lambda setting, episode: episode["query"].append(7),
        lambda setting, episode: episode["classes"].__setitem__(0, "car"),
        lambda setting, episode: episode["classes"].pop(),
        lambda setting, episode: episode.pop("query"),
        lambda setting, episode: setting.update(way="many"),
        lambda setting, episode: setting.update(episodes=[]),
        lambda setting, episode: setting.update(episodes=3),
        lambda setting, episode: setting.pop("way"),
        lambda setting, episode: setting.update(way=float("inf")),
        lambda setting, episode: setting.update(way=10**12),
        lambda setting, episode: setting.update(way=True),
        lambda setting, episode: setting.update(shot=-1),
        lambda setting, episode: setting.update(shot=10**30),
        lambda setting, episode: setting.update(shot=0, episodes=[{**episode, "support": []}]),
        lambda setting, episode: setting.update(
            way=1,
            episodes=[
                {
                    "classes": ["bed"],
                    "support": [name for name in TRAIN.names if "bed" in name][: setting["shot"]],
                    "query": [name for name in TEST.names if "bed" in name],
                }
            ],
        ),
    ],
)
def test_a_damaged_episode_is_one_line(change):
    with pytest.raises(UserError, match="here: setting 2 is damaged"):
        locate(spoilt(change), TRAIN, TEST, "here")


@pytest.mark.parametrize("settings", [None, 3, [], {}, "absent"])
def test_settings_must_be_there(settings):
    document = {**draw()[0], "settings": settings}
    if settings == "absent":
        del document["settings"]
    with pytest.raises(UserError, match="here: damaged: expected settings"):
        locate(document, TRAIN, TEST, "here")


def test_settings_must_be_dicts():
    with pytest.raises(UserError, match="here: setting 1 is damaged"):
        locate({**draw()[0], "settings": [3]}, TRAIN, TEST, "here")


def test_an_episode_is_an_svc_on_features_standardised_by_its_support():
    rng = np.random.default_rng(0)
    ((_, _, (episode, *_)),) = locate(draw(settings=((3, 4),))[0], TRAIN, TEST, "here")
    centres = rng.normal(size=(4, 10))
    x = centres[TRAIN.labels] + 1.5 * rng.normal(size=(len(TRAIN.labels), 10)) + 5
    z = centres[TEST.labels] + 1.5 * rng.normal(size=(len(TEST.labels), 10)) + 5
    scaler = StandardScaler().fit(x[episode.support])
    model = SVC(kernel="linear", C=1.0).fit(scaler.transform(x[episode.support]), episode.support_y)
    hits = model.predict(scaler.transform(z[episode.query])) == episode.query_y
    expected = np.mean([hits[episode.query_y == label].mean() for label in range(3)])
    found = score_episode(x[episode.support], z[episode.query], episode)
    assert found == pytest.approx(expected)
    assert 0 < found < 1
    assert len({int((episode.query_y == label).sum()) for label in range(3)}) > 1


def test_the_interval_is_students():
    values = [0.8, 0.9, 0.7, 0.85]
    found = summarise(values)
    low, high = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    assert (found["mean"] - found["ci95"], found["mean"] + found["ci95"]) == pytest.approx(
        (low, high)
    )
    assert found["std"] == pytest.approx(np.std(values))
    assert summarise([0.5])["ci95"] is None
    with pytest.raises(DataError, match="no episodes"):
        summarise([])


@pytest.mark.parametrize("name", FEWSHOT)
def test_the_report_says_its_protocol_and_that_protocols_do_not_mix(name):
    protocol = FEWSHOT[name]
    found = {
        "protocol": name, "how": "somehow", "seeds": 1, "points": 64, "sampling": "first", "k": 4,
        "settings": [{"way": 5, "shot": 10, "runs": 2, "accuracy": summarise([0.5, 0.7])}],
        "caveats": list(protocol.caveats), "notes": [],
    }  # fmt: skip
    text = format_fewshot({"pretrained": found, "random init": found})
    assert text.splitlines()[0].startswith(f"few-shot, {name}")
    assert "60.0 ± 10.0 [-67.1, 187.1]" in text  # two runs say little
    joined = " ".join(text.split())
    assert APART in joined
    assert all(f"caveat: {line}" in joined for line in protocol.caveats)
    assert bool(protocol.caveats) == (name != "strict")


def test_a_class_of_the_episode_weighs_the_same_however_many_are_asked():
    episode = Episode(("a", "b"), np.arange(4), np.array([0, 0, 1, 1]), np.arange(5),
                      np.array([0, 0, 0, 0, 1]))  # fmt: skip
    support = np.array([[0.0], [0.1], [1.0], [1.1]])
    query = np.array([[0.0], [0.0], [0.0], [0.0], [0.0]])  # all look like the first class
    assert score_episode(support, query, episode) == 0.5
