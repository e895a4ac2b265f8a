"""Few-shot episodes: which shapes of which classes are learnt from, and which are asked for.

They are drawn from a seed and kept as a JSON file of names, so that another encoder, or another
program, can be asked the very same questions.
"""

import json
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pointssl_datasets.base.errors import DataError, UsageError, UserError
from pointssl_datasets.base.writing import write_text
from pointssl_datasets.serving.mixing import PointDataset

FORMAT, VERSION = "pointssl few-shot episodes", 1
Ints = NDArray[np.int64]
Settings = Sequence[tuple[int, int]]


@dataclass(frozen=True)
class Episode:
    """One question.

    Attributes:
        classes: names; their places are the labels below.
        support: ``(way * shot,)`` rows of the support split.
        support_y: their labels.
        query: ``(Q,)`` rows of the query split.
        query_y: their labels.
    """

    classes: tuple[str, ...]
    support: Ints
    support_y: Ints
    query: Ints
    query_y: Ints


Questions: TypeAlias = "list[tuple[int, int, list[Episode]]]"


def choose_episodes(
    train_y: Ints,
    test_y: Ints,
    classes: Sequence[str],
    settings: Settings,
    *,
    query_split: str,
    queries: int,
    at_least: int,
    runs: int,
    seed: int,
    optional: bool = False,
    name: str = "the data",
) -> tuple[Questions, list[str]]:
    """Way, shot and episodes of every setting, and lines for the user.

    Episode i of a setting depends on the seed, the setting and i alone: more runs add episodes and
    change none. Classes with too few shapes are left out, and named.

    Args:
        train_y: labels of the split that the support comes from.
        test_y: labels of the split that queries come from if ``query_split`` is ``"test"``; with
            ``"train"`` they are other shapes of train than the support.
        classes: names that the labels index.
        settings: way and shot of each.
        queries: at most, of each class.
        at_least: that a class must have.
        runs: episodes of each setting.
        optional: a setting that can't be is left out with a line, unless none is left.
        name: of the dataset, for the lines.

    Raises:
        DataError: too few classes have enough shapes.
    """
    train_rows, test_rows = (
        [np.flatnonzero(labels == label) for label in range(len(classes))]
        for labels in (train_y, test_y)
    )
    same = query_split == "train"
    found: Questions = []
    notes: list[str] = []
    for way, shot in settings:
        enough: list[int] = []
        few: list[int] = []
        for label, rows in enumerate(train_rows):
            left = len(rows) - shot if same else len(test_rows[label])
            (enough if len(rows) >= shot and left >= at_least else few).append(label)
        if len(enough) < way:
            need = f"{shot} support shapes in train and {at_least} queries in {query_split}"
            line = (
                f"{way}-way {shot}-shot can't be: {len(enough)} of {len(classes)} classes "
                f"of {name} have {need}"
            )
            if not optional:
                raise DataError(f"{line}; lower --way or --shot")
            notes.append(f"left out: {line}")
            continue
        if few:
            named = ", ".join(classes[label] for label in few[:5])
            named += ", ..." if len(few) > 5 else ""
            notes.append(f"{way}-way {shot}-shot without classes of too few shapes: {named}")
        episodes = []
        for run in range(runs):
            rng = np.random.default_rng([seed, way, shot, run])
            chosen = [enough[i] for i in sorted(rng.choice(len(enough), way, replace=False))]
            support: list[Ints] = []
            query: list[Ints] = []
            for label in chosen:
                mixed = rng.permutation(train_rows[label])
                asked = mixed[shot:] if same else rng.permutation(test_rows[label])
                support.append(mixed[:shot])
                query.append(asked[:queries])
            labels = np.arange(way)
            episodes.append(
                Episode(
                    classes=tuple(classes[label] for label in chosen),
                    support=np.concatenate(support),
                    support_y=np.repeat(labels, shot),
                    query=np.concatenate(query),
                    query_y=np.repeat(labels, [len(rows) for rows in query]),
                )
            )
        found.append((way, shot, episodes))
    if not found:
        more = f" (and so for {len(notes) - 1} other settings)" if len(notes) > 1 else ""
        raise DataError(f"{notes[0].removeprefix('left out: ')}{more}; lower --way or --shot")
    return found, notes


def draw_episodes(
    train: PointDataset,
    test: PointDataset,
    settings: Settings,
    *,
    protocol: str,
    query_split: str,
    seed: int,
    **choice: Any,
) -> tuple[dict[str, Any], list[str]]:
    """:func:`choose_episodes` by the names of the clouds, as a document fit for JSON, and lines for
    the user.

    Args:
        choice: further arguments of :func:`choose_episodes`.

    Raises:
        DataError: too few classes have enough shapes, or several clouds have one name.
    """
    names = {"train": _names(train), "test": _names(test)}
    questions, notes = choose_episodes(
        train.labels, test.labels, train.classes, settings,
        query_split=query_split, seed=seed, name=train.name, **choice,
    )  # fmt: skip
    written = [
        {
            "way": way,
            "shot": shot,
            "episodes": [
                {
                    "classes": list(episode.classes),
                    "support": [names["train"][row] for row in episode.support],
                    "query": [names[query_split][row] for row in episode.query],
                }
                for episode in episodes
            ],
        }
        for way, shot, episodes in questions
    ]
    identity = _identity(train, test, protocol, query_split)
    return {**identity, "seed": seed, "settings": written}, notes


def _identity(
    train: PointDataset, test: PointDataset, protocol: str, query_split: str
) -> dict[str, Any]:
    """What a file of episodes must agree in with the evaluation that uses it."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "dataset": train.name,
        "fingerprints": {"train": train.fingerprint, "test": test.fingerprint},
        "classes": list(train.classes),
        "protocol": protocol,
        "support_split": "train",
        "query_split": query_split,
    }


def _names(clouds: PointDataset) -> list[str]:
    names = list(clouds.names)
    if len(set(names)) < len(names):
        raise DataError(
            f"{clouds.name}: several clouds of {clouds.split} have one name, so that episodes "
            "can't name them; leave weights above 1 out of a mixture"
        )
    return names


def write_episodes(document: Mapping[str, Any], path: Path) -> None:
    """The document as JSON, whole or not at all; a line for each episode.

    Raises:
        UserError: it can't be written.
    """
    head = {key: value for key, value in document.items() if key != "settings"}
    settings = []
    for setting in document["settings"]:
        lines = ",\n".join(json.dumps(episode) for episode in setting["episodes"])
        about = json.dumps({"way": setting["way"], "shot": setting["shot"]})[:-1]
        settings.append(f'{about}, "episodes": [\n{lines}\n]}}')
    body = ",\n".join(settings)
    write_text(path, f'{json.dumps(head, indent=1)[:-2]},\n "settings": [\n{body}\n]}}\n')


def read_episodes(
    path: Path, train: PointDataset, test: PointDataset, protocol: str, query_split: str
) -> Any:
    """The document in a file of :func:`write_episodes`, made for these data and this protocol.

    Raises:
        UsageError: the file is missing, no such file, or one for other data, protocol or version.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"--episodes {path}: {error.strerror}") from None
    except (ValueError, RecursionError):  # RecursionError: nested thousands deep
        raise UsageError(f"--episodes {path}: not a file of episodes: no JSON") from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise UsageError(
            f"--episodes {path}: not a file of episodes, as eval-fewshot writes episodes.json"
        )
    for key, wanted in _identity(train, test, protocol, query_split).items():
        if document.get(key) != wanted:
            if isinstance(wanted, (dict, list)):
                things = "clouds" if key == "fingerprints" else key
                what = f"it was made for other {things} than those of {train.name} as they are here"
            else:
                found = " ".join(reprlib.repr(document.get(key)).split())
                what = f"its {key} is {found}, here it is {wanted!r}"
            raise UsageError(f"--episodes {path}: {what}; leave --episodes out to draw others")
    return document


def locate(
    document: Mapping[str, Any], train: PointDataset, test: PointDataset, where: str
) -> Questions:
    """Way, shot and episodes of each setting of a document, as rows of the data.

    Args:
        where: the document's file, for errors.

    Raises:
        UserError: a name, class or number in it fits neither the data nor the setting.
    """
    query_split = document["query_split"]
    query_clouds = {"train": train, "test": test}[query_split]
    numbers = {
        split: {name: row for row, name in enumerate(_names(clouds))}
        for split, clouds in (("train", train), ("test", test))
    }

    def one(episode: Any, way: int, shot: int) -> Episode:
        # Before anything of the size of way or shot is made.
        if not 2 <= way == len(episode["classes"]) or len(episode["support"]) != way * shot:
            raise ValueError
        labels = [train.classes.index(name) for name in episode["classes"]]
        support = np.array([numbers["train"][n] for n in episode["support"]], dtype=np.int64)
        query = np.array([numbers[query_split][n] for n in episode["query"]], dtype=np.int64)
        place = np.full(len(train.classes), -1)
        place[labels] = np.arange(way)
        support_y, query_y = place[train.labels[support]], place[query_clouds.labels[query]]
        each = np.bincount(support_y, minlength=way)  # ValueError for a shape of another class
        asked = np.bincount(query_y, minlength=way)
        both = np.intersect1d(support, query) if query_split == "train" else ()
        distinct = len({*support.tolist()}) == len(support) and len({*query.tolist()}) == len(query)
        if (each != shot).any() or (asked == 0).any() or len(both) or not distinct:
            raise ValueError
        return Episode(tuple(episode["classes"]), support, support_y, query, query_y)

    settings = document.get("settings")
    if not isinstance(settings, list) or not settings:
        raise UserError(f"{where}: damaged: expected settings, a list of at least one")
    found = []
    for number, setting in enumerate(settings):
        try:
            way, shot = setting["way"], setting["shot"]
            if type(way) is not int or type(shot) is not int or shot < 1:
                raise ValueError
            episodes = [one(episode, way, shot) for episode in setting["episodes"]]
            if not episodes:
                raise ValueError
        except (KeyError, TypeError, ValueError, IndexError):
            raise UserError(
                f"{where}: setting {number + 1} is damaged: each episode needs as many classes as "
                "its way (2 or more), shot (1 or more) support shapes of each, and other shapes of "
                "each to query"
            ) from None
        found.append((way, shot, episodes))
    return found
