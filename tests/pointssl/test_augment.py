"""Augmentation: what CrossPoint's table of ranges says, and rows that don't depend on the ranks."""

import math

import pytest
import torch
from torch import Generator, Tensor

from pointssl.augment import (
    Draw,
    crosspoint_view,
    drawing,
    drop_points,
    float_images,
    image_view,
    quaternion_rotations,
    two_views,
    unchanged_view,
    unit_sphere,
    up_rotations,
)


def seeded(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def everyone(count: int, seed: int = 0) -> Draw:
    return Draw(seeded(seed), count, slice(None))


def clouds(count: int, points: int, seed: int = 5) -> Tensor:
    return torch.randn(count, points, 3, generator=seeded(seed)) * 3 + 7


def assert_rotations(turns: Tensor) -> None:
    eye = torch.eye(3, dtype=turns.dtype).expand_as(turns)
    assert torch.allclose(turns @ turns.mT, eye, atol=1e-5)
    assert torch.allclose(torch.linalg.det(turns), torch.ones(len(turns), dtype=turns.dtype))


class Fixed(Draw):
    """A draw whose uniform numbers all lie at one place of their range, and without noise."""

    def __init__(self, count: int, place: float, keep_all: bool = True) -> None:
        super().__init__(seeded(), count, slice(None))
        self.place, self.keep_all = place, keep_all

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        if self.keep_all and (low, high) == (0, 0.875):
            return torch.full((self.total, *shape), -1.0)  # a share below every chance
        return torch.full((self.total, *shape), low + self.place * (high - low))

    def normal(self, *shape: int) -> Tensor:
        return torch.zeros(self.total, *shape)


def test_unit_sphere():
    xyz = unit_sphere(clouds(4, 100))
    assert torch.allclose(xyz.mean(1), torch.zeros(4, 3), atol=1e-5)
    assert torch.allclose(xyz.norm(dim=-1).amax(1), torch.ones(4))
    assert unit_sphere(torch.ones(1, 5, 3)).isfinite().all()  # one point, five times


def test_up_rotations():
    turns = up_rotations(torch.linspace(0, 6, 50))
    assert_rotations(turns)
    up = torch.tensor([0.0, 1.0, 0.0])
    assert torch.allclose(turns @ up, up.expand(50, 3))
    quarter = up_rotations(torch.tensor([math.pi / 2]))[0]
    assert torch.allclose(quarter @ torch.tensor([0.0, 0, 1]), torch.tensor([1.0, 0, 0]), atol=1e-6)


def test_quaternion_rotations_are_uniform():
    turns = quaternion_rotations(torch.randn(20000, 4, generator=seeded()))
    assert_rotations(turns)
    # Haar measure: every entry has mean 0 and variance 1/3, the trace has mean 0 and variance 1.
    assert float(turns.mean(0).abs().max()) < 0.02
    assert torch.allclose(turns.square().mean(0), torch.full((3, 3), 1 / 3), atol=0.02)
    trace = turns.diagonal(dim1=1, dim2=2).sum(1)
    assert float(trace.var()) == pytest.approx(1, abs=0.05)
    by_hand = quaternion_rotations(torch.tensor([[2.0, 0, 2.0, 0]]))  # a quarter turn about y
    assert torch.allclose(by_hand, up_rotations(torch.tensor([math.pi / 2])), atol=1e-6)


def test_draws_lie_in_their_range():
    numbers = everyone(20000).uniform(0.5, 2.0, 1, 1)
    assert numbers.shape == (20000, 1, 1)
    assert float(numbers.min()) >= 0.5
    assert float(numbers.max()) < 2
    assert float(numbers.mean()) == pytest.approx(1.25, abs=0.02)
    assert float(numbers.std()) == pytest.approx(1.5 / math.sqrt(12), abs=0.02)


@pytest.mark.parametrize("place", [0.0, 0.3, 1.0])
def test_scale_turn_and_shift_by_hand(place: float):
    xyz = clouds(2, 50)
    view, _ = crosspoint_view(xyz, None, Fixed(2, place))
    angle = torch.full((2,), place * 2 * math.pi)
    expected = unit_sphere(xyz) * (0.5 + 1.5 * place) @ up_rotations(angle).mT
    extent = expected.amax(1, keepdim=True) - expected.amin(1, keepdim=True)
    assert torch.allclose(view, expected + (place - 0.5) * extent, atol=1e-5)


def test_statistics_of_a_view():
    """Scale and shift of many clouds, recovered from the views."""
    xyz = clouds(1, 200).expand(3000, -1, -1)
    draw = everyone(3000)
    draw_share = draw.uniform

    def keep_all(low: float, high: float, *shape: int) -> Tensor:
        numbers = draw_share(low, high, *shape)
        return numbers - 1 if (low, high) == (0, 0.875) else numbers

    draw.uniform = keep_all  # type: ignore[method-assign]
    view, _ = crosspoint_view(xyz, None, draw)
    centre = view.mean(1, keepdim=True)
    scale = (view - centre).norm(dim=-1).amax(1)
    assert 0.4 < float(scale.min()) < 0.55
    assert 1.95 < float(scale.max()) < 2.1
    assert float(scale.mean()) == pytest.approx(1.25, abs=0.05)
    extent = view.amax(1) - view.amin(1)
    shift = centre[:, 0] / extent
    assert float(shift.abs().max()) < 0.53
    assert float(shift.std()) == pytest.approx(1 / math.sqrt(12), abs=0.03)


def test_jitter_is_clipped():
    class Far(Fixed):
        def normal(self, *shape: int) -> Tensor:
            return torch.randn(self.total, *shape, generator=seeded()) * 4

    xyz = clouds(2, 4000)
    still, _ = crosspoint_view(xyz, None, Fixed(2, 0.5))
    jittered, _ = crosspoint_view(xyz, None, Far(2, 0.5))
    offset = jittered - still
    assert float(offset.abs().max()) == pytest.approx(0.05, abs=1e-5)
    assert float((offset.abs() < 0.049).float().mean()) == pytest.approx(0.78, abs=0.03)
    ordinary = 0.01 * everyone(2).normal(4000, 3)
    assert float(ordinary.std()) == pytest.approx(0.01, rel=0.05)


def test_dropped_points_become_the_first():
    xyz = clouds(2000, 128)
    view, _ = crosspoint_view(xyz, None, everyone(2000))
    dropped = (view == view[:, :1]).all(-1)
    share = (dropped[:, 1:].float()).mean(1)
    # U(0, 0.875), but for the few points of a cloud
    assert float(share.min()) < 0.01
    assert 0.86 < float(share.max()) < 0.97
    assert float(share.mean()) == pytest.approx(0.4375, abs=0.02)
    assert float(share.std()) == pytest.approx(0.875 / math.sqrt(12), abs=0.02)
    quarters = torch.histc(share, 4, 0, 0.875) / 2000
    assert torch.allclose(quarters, torch.full((4,), 0.25), atol=0.05)


def test_drop_points_by_hand():
    chance = torch.tensor([[0.9, 0.2, 0.5, 0.51]])
    kept = drop_points(torch.zeros(1, 4, 3), torch.tensor([[0.5]]), chance)
    assert kept.tolist() == [[0, 0, 0, 3]]


@pytest.mark.parametrize("rotate", ["up", "so3", "none"])
def test_normals_turn_and_drop_with_the_points(rotate: str):
    class NoNoise(Draw):
        def normal(self, *shape: int) -> Tensor:
            numbers = super().normal(*shape)
            return numbers if shape == (4,) else 0 * numbers

    xyz = unit_sphere(torch.randn(5, 60, 3, generator=seeded(1), dtype=torch.float64))
    normals = torch.nn.functional.normalize(xyz, dim=-1)
    view, turned = crosspoint_view(xyz, normals, NoNoise(seeded(), 5, slice(None)), rotate=rotate)
    assert torch.allclose(turned.norm(dim=-1), torch.ones(5, 60, dtype=torch.float64))
    for cloud in range(5):
        # Differences of points are free of the shift; they and the normals turn alike.
        kept = [i for i in range(60) if i == 0 or not torch.equal(view[cloud, i], view[cloud, 0])]
        before = (xyz[cloud, kept] - xyz[cloud, kept[:1]]) @ normals[cloud, kept].T
        after = (view[cloud, kept] - view[cloud, kept[:1]]) @ turned[cloud, kept].T
        scale = after.norm() / before.norm()
        assert 0.5 <= float(scale) <= 2
        assert torch.allclose(after, before * scale, atol=1e-5)
        gone = [i for i in range(60) if i not in kept]
        assert torch.equal(turned[cloud, gone], turned[cloud, :1].expand(len(gone), 3))
        if rotate == "up":
            assert torch.allclose(turned[cloud, kept, 1], normals[cloud, kept, 1])


def batch(count: int) -> dict[str, Tensor]:
    return {
        "xyz": clouds(count, 40),
        "feats": torch.randn(count, 40, 3, generator=seeded(3)),
        "image": torch.randint(0, 256, (count, 3, 8, 8), generator=seeded(4), dtype=torch.uint8),
        "index": torch.arange(count),
    }


def views_of(given, generator, rank=0, ranks=1, augment=crosspoint_view, images="crosspoint"):
    """Two views of a batch and its images, as pretraining makes them."""
    draw = drawing(given, generator, rank, ranks)
    return float_images(two_views(given, draw, augment), draw, images)


def test_same_seed_same_views_and_two_different_ones():
    first, again = views_of(batch(6), seeded(1)), views_of(batch(6), seeded(1))
    assert set(first) == {"index", "xyz1", "xyz2", "feats1", "feats2", "image"}
    for name, value in first.items():
        assert torch.equal(value, again[name]), name
    other = views_of(batch(6), seeded(2))
    assert not torch.equal(first["xyz1"], other["xyz1"])
    assert not torch.equal(first["xyz1"], first["xyz2"])
    assert torch.equal(first["index"], torch.arange(6))


def test_global_generator_is_neither_used_nor_moved():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    views_of(batch(3), seeded(1))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("ranks", [2, 3])
def test_ranks_draw_the_rows_of_one_global_batch(ranks: int):
    whole = views_of(batch(6), seeded(1))
    share = 6 // ranks
    parts = []
    for rank in range(ranks):
        own = {key: value[rank * share : (rank + 1) * share] for key, value in batch(6).items()}
        parts.append(views_of(own, seeded(1), rank, ranks))
    for name, value in whole.items():
        assert torch.allclose(torch.cat([part[name] for part in parts]), value, atol=1e-6), name


def test_without_augmentation():
    data = batch(2)
    views = views_of(data, seeded(), augment=unchanged_view, images="none")
    assert torch.equal(views["xyz1"], data["xyz"])
    assert torch.equal(views["feats2"], data["feats"])
    assert torch.equal(views["image"], data["image"].float() / 255)


def test_clouds_alone():
    views = views_of({"xyz": clouds(2, 40), "index": torch.arange(2)}, seeded())
    assert set(views) == {"index", "xyz1", "xyz2"}


def test_image_view_stays_in_range_and_flips_half():
    images = torch.rand(600, 3, 8, 8, generator=seeded(1))
    images[..., 4:] = images[..., :4] * 0.3  # left is bright, right is dark
    views = image_view(images, everyone(600))
    assert float(views.min()) >= 0
    assert float(views.max()) <= 1
    flipped = (views[..., :4].mean((1, 2, 3)) < views[..., 4:].mean((1, 2, 3))).float()
    assert float(flipped.mean()) == pytest.approx(0.5, abs=0.07)
    grey = torch.full((200, 3, 4, 4), 0.5)
    brightness = image_view(grey, everyone(200))[:, 0, 0, 0] / 0.5
    assert 0.59 < float(brightness.min()) < 0.65
    assert 1.35 < float(brightness.max()) < 1.41


def test_image_view_by_hand():
    """At the middle of every range nothing changes; at the low end all is dimmed and greyed."""
    images = torch.rand(2, 3, 4, 4, generator=seeded(1))
    assert torch.allclose(image_view(images, Fixed(2, 0.5)), images, atol=1e-6)
    low = image_view(images, Fixed(2, 0.0)).flip(3)  # 0 < 0.5: also flipped
    weights = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    expected = images * 0.6
    mean = (expected * weights).sum(1, keepdim=True).mean((2, 3), keepdim=True)
    expected = expected * 0.6 + mean * 0.4
    expected = expected * 0.6 + (expected * weights).sum(1, keepdim=True) * 0.4
    assert torch.allclose(low, expected, atol=1e-6)
