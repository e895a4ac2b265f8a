"""Pairing clouds and images."""

import pytest

from pointssl_datasets.base.errors import DataError, UsageError
from pointssl_datasets.layout.pairs import Item, Unpaired, images_in, is_image, pair_up


def item(tmp_path, name, images=1):
    return Item(name, tmp_path / name, None, [tmp_path / f"{name}{i}.png" for i in range(images)])


def test_paired_items_pass(tmp_path):
    items = [item(tmp_path, "a"), item(tmp_path, "b", 3)]
    assert pair_up(items, [], "error", tmp_path) == (items, [])


def test_unpaired_clouds_and_images_are_named(tmp_path):
    items = [item(tmp_path, "a"), item(tmp_path, "b", 0)]
    with pytest.raises(Unpaired, match=r"images: 1 of 2 \(b\); images .*: 1 \(x.png\)") as caught:
        pair_up(items, ["x.png"], "error", tmp_path)
    assert (caught.value.clouds, caught.value.images) == (("b",), ("x.png",))
    kept, notes = pair_up(items, ["x.png"], "skip", tmp_path)
    assert kept == items[:1]
    assert len(notes) == 2


def test_a_skip_list_needs_no_pairs(tmp_path):
    items = [item(tmp_path, "a"), item(tmp_path, "b", 0)]
    skip = frozenset({"b", "x.png"})
    assert pair_up(items, ["x.png"], "error", tmp_path, skip) == (items[:1], [])


def test_something_must_be_left(tmp_path):
    with pytest.raises(DataError, match="nothing is left"):
        pair_up([item(tmp_path, "b", 0)], [], "skip", tmp_path)
    with pytest.raises(UsageError, match="--on-unpaired 'maybe'"):
        pair_up([], [], "maybe", tmp_path)


def test_images_are_known_by_their_suffix(tmp_path):
    for name in ("b.PNG", "a.jpg", "._a.jpg", "c.txt"):
        (tmp_path / name).write_text("")
    assert images_in(tmp_path) == [tmp_path / "a.jpg", tmp_path / "b.PNG"]
    assert images_in(tmp_path / "missing") == []
    assert not is_image("png")
