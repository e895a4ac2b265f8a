"""Augmentation: what CrossPoint's table of ranges says, and rows that don't depend on the ranks."""

import math

import pytest
import torch
from torch import Generator, Tensor

from pointssl.augment import (
    AUGMENTATIONS,
    Draw,
    crosspoint_view,
    drawing,
    drop_points,
    float_images,
    image_view,
    quaternion_rotations,
    scale_shift_view,
    small_rotations,
    strl_view,
    two_views,
    unchanged_view,
    unit_sphere,
    up_rotations,
)
from pointssl_datasets.base.resolve import resolve


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


def test_scale_shift_rotates_first():
    xyz = clouds(2, 30)
    view, _ = scale_shift_view(xyz, None, Fixed(2, 0.25), rotate="up")
    turned = xyz @ up_rotations(torch.full((2,), math.pi / 2)).mT
    factor = 2 / 3 + 0.25 * (3 / 2 - 2 / 3)
    assert torch.allclose(view, turned * factor - 0.1, atol=1e-5)


STILL = {"scale": (1.0, 1.0), "perturb": 0.0, "shift": 0.0, "jitter": 0.0, "drop": 0.0}


def strl(xyz, normals=None, seed=0, **options):
    draw = Draw(seeded(seed), len(xyz), slice(None))
    return strl_view(xyz, normals, draw, **{**STILL, **options})


def test_strl_without_its_parts_is_the_cloud_in_the_unit_sphere():
    xyz = clouds(4, 60)
    view, normals = strl(xyz, xyz.flip(-1), crop_chance=0.0, cutout_chance=0.0)
    assert torch.allclose(view, unit_sphere(xyz), atol=1e-6)
    assert torch.equal(normals, xyz.flip(-1))


def test_strl_crops_to_a_box_and_fills_up_with_points_of_it():
    xyz = clouds(300, 200).double()
    tags = xyz.clone()  # normals travel with their points, so they tell which point each one is
    view, kept = strl(xyz, tags, crop=(0.4, 0.7), crop_chance=1.0, cutout_chance=0.0)
    assert view.shape == xyz.shape
    extent = xyz.amax(1) - xyz.amin(1)
    inside = kept.amax(1) - kept.amin(1)
    cropped = (inside < extent - 1e-6).any(1)
    assert cropped.float().mean() > 0.9  # the others keep less than a tenth, and so everything
    assert (inside[cropped] <= 0.7 * extent[cropped] + 1e-5).all()
    for cloud in range(20):
        distances = torch.cdist(kept[cloud], xyz[cloud])
        assert float(distances.amin(1).max()) < 1e-6  # nothing is made up
        distinct = len(torch.unique(kept[cloud], dim=0))
        box = ((xyz[cloud] >= kept[cloud].amin(0)) & (xyz[cloud] <= kept[cloud].amax(0))).all(1)
        assert distinct == int(box.sum())  # every point of the box is there


def test_strl_cuts_out_what_lies_in_a_box():
    xyz = clouds(300, 200).double()
    whole = unit_sphere(xyz)
    view, _ = strl(xyz, cutout=(0.4, 0.5), crop_chance=0.0, cutout_chance=1.0)
    fewer = [len(torch.unique(cloud, dim=0)) for cloud in view]
    assert 200 > sum(fewer) / 300 > 120
    for cloud in range(20):
        assert float(torch.cdist(view[cloud], whole[cloud]).amin(1).max()) < 1e-6
    chance = 0.5
    view, _ = strl(xyz, crop_chance=0.0, cutout_chance=chance)
    untouched = sum(torch.allclose(a, b, atol=1e-6) for a, b in zip(view, whole, strict=True))
    assert untouched / 300 == pytest.approx(1 - chance, abs=0.12)


def test_strl_perturbs_by_small_rotations():
    xyz = unit_sphere(torch.randn(500, 40, 3, generator=seeded(2), dtype=torch.float64))
    view, normals = strl(xyz, xyz, crop_chance=0.0, cutout_chance=0.0, perturb=0.06)
    assert torch.allclose(view, normals, atol=1e-6)  # normals turn along
    assert torch.allclose(view.norm(dim=-1), xyz.norm(dim=-1), atol=1e-6)
    turn = torch.linalg.lstsq(xyz, view).solution.mT
    angle = ((turn.diagonal(dim1=1, dim2=2).sum(1) - 1) / 2).clamp(-1, 1).acos()
    assert float(angle.max()) < 0.18 * 3**0.5 + 0.02
    assert float(angle.square().mean().sqrt()) == pytest.approx(0.06 * 3**0.5, rel=0.1)


def test_small_rotations_about_each_axis():
    for axis in range(3):
        angles = torch.zeros(1, 3, dtype=torch.float64)
        angles[0, axis] = math.pi / 2
        turn = small_rotations(angles)[0]
        assert torch.allclose(turn @ torch.eye(3, dtype=torch.float64)[(axis + 1) % 3],
                              torch.eye(3, dtype=torch.float64)[(axis + 2) % 3])  # fmt: skip
        assert torch.det(turn) == pytest.approx(1)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_every_augmentation(name: str):
    """Finite, of the same shape and type, and each cloud by its own row of the numbers."""
    augment = resolve(name, AUGMENTATIONS, "augmentation")
    xyz, normals = clouds(6, 40), torch.randn(6, 40, 3, generator=seeded(3))
    view, turned = augment(xyz, normals, Draw(seeded(1), 6, slice(None)))
    assert view.shape == xyz.shape
    assert view.dtype == xyz.dtype
    assert torch.isfinite(view).all()
    assert turned.shape == normals.shape
    part, _ = augment(xyz[2:4], None, Draw(seeded(1), 6, slice(2, 4)))
    assert torch.allclose(part, view[2:4], atol=1e-6)
    alone, none = augment(xyz, None, Draw(seeded(1), 6, slice(None)))
    assert none is None
    assert torch.equal(alone, view)
