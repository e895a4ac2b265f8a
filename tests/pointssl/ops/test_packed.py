"""Clouds of different sizes in one batch: each as if it were alone."""

import pytest
import torch
from torch import Tensor, nn

from pointssl.backbones.base import Features
from pointssl.backbones.build import build_encoder
from pointssl.ops.interpolation import interpolate
from pointssl.ops.neighbours import knn_among, knn_reference
from pointssl.ops.packed import (
    pack,
    packed_farthest,
    packed_interpolate,
    packed_knn,
    per_cloud,
    per_point,
    sizes_of,
)
from pointssl.ops.sampling import farthest_points_reference
from pointssl.tasks.segmentation import PointSegmentation
from pointssl_datasets.base.errors import UsageError, UserError

SIZES = [40, 7, 23]
decoders = pytest.mark.parametrize("decoder", [False, True])


def clouds(sizes: list[int], channels: int = 3, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(n, channels, generator=generator, dtype=torch.float64) for n in sizes]


def encoder(**changes) -> nn.Module:
    small = {
        "k": 6, "first_k": 4, "widths": (16, 24, 32), "depths": (1, 1, 1), "strides": (1, 4, 4),
    }  # fmt: skip
    made = build_encoder("point_transformer_packed", seed=0, **small, **changes).double()
    generator = torch.Generator().manual_seed(1)
    for module in made.modules():
        if isinstance(module, nn.BatchNorm1d):
            with torch.no_grad():
                module.weight.normal_(generator=generator)
                module.running_mean.normal_(0, 0.1, generator=generator)
    return made


def test_pack_and_its_sizes():
    parts = clouds(SIZES)
    rows, offsets = pack(parts)
    assert offsets.tolist() == [40, 47, 70]
    sizes = sizes_of(offsets, len(rows))
    assert sizes == SIZES
    assert all(torch.equal(a, b) for a, b in zip(rows.split(sizes), parts, strict=True))
    assert sizes_of(offsets.int(), 70) == SIZES


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ([], "no clouds to pack"),
        ([torch.zeros(3, 3), torch.zeros(0, 3)], r"cloud 1 has the shape \(0, 3\)"),
        ([torch.zeros(3, 3), torch.zeros(2, 6)], r"cloud 1 .* \(2, 6\): expected \(N, 3\)"),
        ([torch.zeros(1, 3, 3)], r"cloud 0 has the shape \(1, 3, 3\)"),
        ([torch.tensor(1.0)], r"cloud 0 has the shape \(\)"),
    ],
)
def test_pack_rejects_invalid_clouds(parts: list[Tensor], said: str):
    with pytest.raises(UserError, match=said):
        pack(parts)


@pytest.mark.parametrize(
    ("offsets", "said"),
    [
        (torch.tensor([40, 30, 70]), "not sorted: cloud 1 ends at 30"),
        (torch.tensor([40, 7, 23]), "the end of each cloud, not its size"),
        (torch.tensor([-1, 70]), "not sorted: cloud 0 ends at -1"),
        (torch.tensor([40, 40, 70]), "cloud 1 is empty"),
        (torch.tensor([0, 70]), "cloud 0 is empty"),
        (torch.tensor([40, 47]), "offsets end at 47, but there are 70 points"),
        (torch.tensor([40, 47, 71]), "offsets end at 71, but there are 70 points"),
        (torch.tensor([40.0, 70.0]), r"whole numbers \(B,\), got torch.float32 \(2,\)"),
        (torch.tensor([[40, 70]]), r"got torch.int64 \(1, 2\)"),
        (torch.tensor([], dtype=torch.int64), r"got torch.int64 \(0,\)"),
        ([40, 70], "got list"),
    ],
)
def test_offsets_are_checked(offsets: Tensor, said: str):
    rows = torch.cat(clouds(SIZES))
    with pytest.raises(UserError, match=said):
        encoder()(rows, None, offsets)


def test_clouds_that_do_not_fit_the_encoder():
    rows, offsets = pack(clouds([40, 5]))
    with pytest.raises(UserError, match="5 points have fewer than k = 6"):
        encoder()(rows, None, offsets)
    with pytest.raises(UserError, match="takes 6 channels per point, the data have 3"):
        encoder(in_channels=6)(rows, None, torch.tensor([45]))
    with pytest.raises(UserError, match=r"packed clouds are \(T, 3\), got \(1, 45, 3\)"):
        encoder()(rows[None], None, offsets)
    with pytest.raises(UserError, match=r"feats: expected \(45, channels\)"):
        encoder(in_channels=6)(rows, rows[:-1], offsets)
    with pytest.raises(UserError, match=r"expected clouds as a tensor \(B, N, 3\)"):
        encoder()(rows)
    with pytest.raises(UsageError, match="24 is not a multiple of share = 16"):
        build_encoder("point_transformer_packed", widths=[16, 24], strides=[1, 4], depths=[1, 1],
                      share=16)  # fmt: skip
    with pytest.raises(UsageError, match="have 2, 5 and 5 entries"):
        build_encoder("point_transformer_packed", widths=[16, 24])


@pytest.mark.parametrize("sizes", [SIZES, [20, 20]])
def test_neighbours(sizes: list[int]):
    parts = clouds(sizes)
    rows = torch.cat(parts)
    found = packed_knn(rows, sizes, 9)
    assert found.shape == (sum(sizes), 9)
    begin = 0
    for part in parts:
        own = found[begin : begin + len(part)] - begin
        expected = knn_reference(part[None], min(9, len(part)))[0]
        for row, (ours, exact) in enumerate(zip(own.tolist(), expected.tolist(), strict=True)):
            assert set(ours[: len(exact)]) == set(exact)
            assert ours[len(exact) :] == [row] * (9 - len(exact))  # the point itself fills up
        begin += len(part)


def test_neighbours_among_other_points():
    places, targets = clouds([12, 2, 9]), clouds([3, 8, 1], seed=1)
    found = packed_knn(torch.cat(places), [12, 2, 9], 4, torch.cat(targets), [3, 8, 1])
    parts = zip(found.split([3, 8, 1]), places, targets, [0, 12, 14], strict=True)
    for ours, place, target, begin in parts:
        exact = knn_among(target[None], place[None], min(4, len(place)))[0] + begin
        assert torch.equal(ours[:, : exact.shape[1]].sort().values, exact.sort().values)
        nearest = torch.cdist(target, place).argmin(1) + begin
        assert (ours[:, exact.shape[1] :] == nearest[:, None]).all()


@pytest.mark.parametrize("start", ["far", "first"])
@pytest.mark.parametrize("sizes", [SIZES, [16, 16]])
def test_farthest_points(sizes: list[int], start: str):
    parts = clouds(sizes)
    counts = [max(1, size // 4) for size in sizes]
    found = packed_farthest(torch.cat(parts), sizes, counts, start).split(counts)
    begin = 0
    for part, count, ours in zip(parts, counts, found, strict=True):
        assert (ours - begin).tolist() == farthest_points_reference(part[None], count, start)[0]
        begin += len(part)


def test_farthest_of_equal_points_stay_in_their_cloud():
    rows = torch.cat((torch.ones(9, 3), torch.zeros(4, 3), clouds([20])[0].float()))
    found = packed_farthest(rows, [9, 4, 20], [4, 4, 5], "far")
    assert ((found[:4] < 9) & (found[:4] >= 0)).all()
    assert ((found[4:8] < 13) & (found[4:8] >= 9)).all()
    assert len(found[8:].unique()) == 5
    with pytest.raises(UsageError, match="start 'middle'"):
        packed_farthest(rows, [9, 4, 20], [1, 1, 1], "middle")


def test_interpolation_by_inverse_distance():
    places, targets = clouds([5, 1, 2]), clouds([4, 3, 6], seed=1)
    targets[0][0] = places[0][2]  # one stands on a place
    values = torch.randn(8, 3, dtype=torch.float64, requires_grad=True)
    found = packed_interpolate(
        values, torch.cat(places), [5, 1, 2], torch.cat(targets).requires_grad_(), [4, 3, 6]
    )
    parts = zip(found.split([4, 3, 6]), values.split([5, 1, 2]), places, targets, strict=True)
    for ours, value, place, target in parts:
        for row, query in zip(ours, target, strict=True):
            near = sorted((float((p - query).norm()), i) for i, p in enumerate(place))[:3]
            weights = [1 / (apart + 1e-8) for apart, _ in near]
            exact = sum(
                w / sum(weights) * value[i] for w, (_, i) in zip(weights, near, strict=True)
            )
            assert torch.allclose(row, exact)
    assert torch.allclose(found[0], values[2], rtol=1e-6)
    found.square().sum().backward()
    assert values.grad.isfinite().all()


def test_one_place_is_the_same_as_the_dense_interpolation():
    values, places, targets = torch.randn(2, 1, 5), torch.randn(2, 1, 3), torch.randn(2, 4, 3)
    flat = packed_interpolate(
        values.flatten(0, 1), places.flatten(0, 1), [1, 1], targets.flatten(0, 1), [4, 4]
    )
    assert torch.allclose(flat.view(2, 4, 5), interpolate(values, places, targets))


def test_per_cloud_and_per_point():
    parts = clouds(SIZES, channels=5)
    means = per_cloud(torch.cat(parts), SIZES, "mean")
    assert torch.allclose(means, torch.stack([part.mean(0) for part in parts]))
    assert torch.equal(
        per_cloud(torch.cat(parts), SIZES, "max"), torch.stack([part.amax(0) for part in parts])
    )
    assert torch.equal(
        per_point(means, SIZES), torch.cat([means[i].repeat(n, 1) for i, n in enumerate(SIZES)])
    )


def packed(module: nn.Module, parts: list[Tensor]) -> Features:
    rows, offsets = pack(parts)
    return module(rows[:, :3], rows[:, 3:] if rows.shape[1] > 3 else None, offsets)


@decoders
def test_clouds_are_independent(decoder: bool):
    module = encoder(decoder=decoder, in_channels=6).eval()
    parts = clouds(SIZES, channels=6)
    together = packed(module, parts)
    assert together.cloud.shape == (3, module.cloud_dim)
    assert together.points.shape == (70, module.point_dim)
    for i, (part, points) in enumerate(zip(parts, together.points.split(SIZES), strict=True)):
        for alone in (packed(module, [part]), module(part[None, :, :3], part[None, :, 3:])):
            assert torch.allclose(alone.cloud[0], together.cloud[i], rtol=1e-9, atol=1e-11)
            assert torch.allclose(alone.points.view_as(points), points, rtol=1e-9, atol=1e-11)


@decoders
@pytest.mark.parametrize("training", [False, True])
def test_equal_sizes_give_what_a_dense_batch_gives(decoder: bool, training: bool):
    parts = clouds([30, 30, 30])
    flat = packed(encoder(decoder=decoder).train(training), parts)
    dense = encoder(decoder=decoder).train(training)(torch.stack(parts))
    assert torch.equal(flat.cloud, dense.cloud)
    assert torch.equal(flat.points.view(3, 30, -1), dense.points)


def test_order_of_the_clouds_and_of_their_points():
    module, parts = encoder(decoder=True).eval(), clouds(SIZES)
    expected = packed(module, parts)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(2))
    other = packed(module, [parts[2], parts[0][order], parts[1]])
    assert torch.allclose(other.cloud, expected.cloud[[2, 0, 1]])
    assert torch.allclose(other.points[23:63], expected.points[:40][order])


@decoders
def test_training_on_packed_clouds_reaches_every_parameter(decoder: bool):
    module = encoder(decoder=decoder)
    packed(module, clouds(SIZES)).cloud.square().sum().backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("categories", [0, 4])
def test_segmentation_of_packed_clouds(categories: int):
    task = PointSegmentation(encoder(decoder=True), parts=5, categories=categories).double().eval()
    parts = clouds(SIZES)
    rows, offsets = pack(parts)
    label = torch.tensor([3, 0, 2]) if categories else None
    together = task.logits(rows, None, label, offsets)
    assert together.shape == (70, 5)
    for i, (part, ours) in enumerate(zip(parts, together.split(SIZES), strict=True)):
        alone = task.logits(part[None], None, label[i : i + 1] if categories else None)
        assert torch.allclose(ours, alone[0], rtol=1e-9, atol=1e-11)

    batch = {"xyz": rows, "offsets": offsets, "part": torch.arange(70) % 5, "label": label}
    task.train()(batch)["loss"].backward()
    for name, parameter in task.named_parameters():
        assert parameter.grad is not None, name


def test_segmentation_with_an_encoder_of_equal_sizes():
    rows, offsets = pack(clouds(SIZES))
    task = PointSegmentation(build_encoder("dgcnn", k=4, embedding=16, channels=(8,)), parts=5)
    with pytest.raises(UserError, match=r"DGCNN takes clouds of equal sizes, \(B, N, 3\)"):
        task.logits(rows, None, None, offsets)
