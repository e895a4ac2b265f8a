"""The inside of an encoder over batches of clouds, and pictures of it."""

import numpy as np
import pytest
import torch
from PIL import Image
from small_backbones import SMALL, VARIANTS, small
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util.tensor_util import make_ndarray
from tiny import PointMlp
from torch import Tensor, nn

from pointssl.backbones.base import Features
from pointssl.backbones.build import build_encoder
from pointssl.features.layers import Layer, layers_found, on_points
from pointssl.inspection.layers import Batch, look_inside
from pointssl.inspection.profile import profile_modules
from pointssl.reports.figures.layers import cka_figure, component_colours, layers_sheet
from pointssl.reports.figures.tensorboard import write_board
from pointssl.reports.inspection import layers_table, warnings_of
from pointssl_datasets.base.errors import UsageError, UserError


def batch(count, points=24, seed=0, sampled=5):
    generator = torch.Generator().manual_seed(seed)
    xyz = torch.randn(count, points, 3, generator=generator)
    names = [f"cloud {seed}{i}" for i in range(count)]
    return Batch(names, xyz, None, torch.arange(sampled).expand(count, -1))


def dgcnn():
    return build_encoder("dgcnn", seed=0, k=4, embedding=16, channels=(8, 6)).eval()


def test_batches_give_the_same_as_all_clouds_at_once():
    parts = [batch(3, seed=1), batch(2, seed=2)]
    together = Batch(
        [name for part in parts for name in part.names],
        torch.cat([part.xyz for part in parts]),
        None,
        torch.cat([part.sampled for part in parts]),
    )
    found, expected = look_inside(dgcnn(), parts, 4), look_inside(dgcnn(), [together], 4)
    assert list(found.statistics) == ["edge_convs.0", "edge_convs.1", "last"]
    for name, row in found.statistics.items():
        assert row["rank"] == pytest.approx(expected.statistics[name]["rank"], rel=1e-4)
        assert row["attention"] is None
        torch.testing.assert_close(found.shown[name], expected.shown[name])
        torch.testing.assert_close(found.sampled[name], expected.sampled[name])
    assert found.shown["last"].shape == (4, 24, 16)
    assert found.sampled["last"].shape == (25, 16)
    assert torch.equal(found.xyz, together.xyz[:4])
    torch.testing.assert_close(found.shown["last"][3, :5], found.sampled["last"][15:20])


@pytest.mark.parametrize("name", [*SMALL, *VARIANTS])
def test_every_backbone_can_be_inspected(name):
    backbone, arguments = small(name)
    encoder = build_encoder(backbone, seed=0, **arguments).eval()
    clouds = batch(2, points=40)
    found = look_inside(encoder, [clouds], 2)
    assert tuple(found.statistics) == encoder.layers
    assert found.unplaced == []
    for layer, row in found.statistics.items():
        assert found.shown[layer].shape == (2, 40, row["channels"])
        assert row["attention"] is None or row["attention"]["mean"] > 0
    rows = {row["name"]: row for row in profile_modules(encoder, clouds.xyz, passes=1)}
    assert rows[""]["parameters"] == sum(p.numel() for p in encoder.parameters())
    assert set(encoder.layers) <= set(rows)
    inside = [row for row in rows.values() if row["caller"] == ""]
    own, whole = rows[""]["own"]["multiply_adds"], rows[""]["multiply_adds"]
    assert 0 <= own < whole
    assert sum(row["multiply_adds"] for row in inside) + own >= whole


class Blocks(nn.Module):
    """An encoder of the user's own: no `layers`, one child channels first, one for the cloud."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(3, 8)
        self.blocks = nn.ModuleList([nn.Linear(8, 8), nn.Linear(8, 8)])
        self.conv = nn.Conv1d(8, 6, 1)
        self.head = nn.Linear(6, 4)

    def forward(self, xyz: Tensor, feats: Tensor | None = None) -> Features:
        x = self.stem(xyz)
        for block in self.blocks:
            x = block(x)
        cloud = self.head(self.conv(x.mT).amax(-1))
        return Features(cloud, x)


def test_an_encoder_without_layers_shows_its_children():
    xyz = torch.randn(2, 10, 3)
    assert layers_found(Blocks(), xyz) == ("stem", "blocks.0", "blocks.1")
    assert layers_found(PointMlp(), xyz) == ("linear", "dropout")
    assert layers_found(dgcnn(), xyz) == ("edge_convs.0", "edge_convs.1", "last")


def test_few_places_colour_the_points_near_them():
    xyz = torch.randn(2, 30, 3)
    layer = Layer(xyz[:, :7], torch.arange(14.0).view(2, 7, 1))
    found = on_points(layer, xyz)
    nearest = torch.cdist(xyz, xyz[:, :7]).argmin(-1)
    assert torch.equal(found[..., 0], nearest + torch.tensor([[0], [7]]))
    assert on_points(Layer(None, layer.features), xyz) is None
    assert on_points(Layer(xyz, xyz), xyz) is xyz


class Thinning(nn.Module):
    """Its last layer has places of which nobody knows."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = ("known", "unknown")
        self.known, self.unknown = nn.Linear(3, 4), nn.Identity()

    def forward(self, xyz: Tensor, feats: Tensor | None = None) -> Features:
        x = self.known(xyz)
        return Features(self.unknown(x[:, :5]).amax(1), x)


def test_a_layer_without_places_has_numbers_but_no_colours():
    found = look_inside(Thinning(), [batch(2)], 2)
    assert found.unplaced == ["unknown"]
    assert list(found.shown) == list(found.sampled) == ["known"]
    assert found.statistics["unknown"]["places"] == 5


def test_the_error_names_the_first_module_that_is_not_finite():
    encoder = dgcnn()
    encoder.edge_convs[1].linear.weight.data[0, 0] = torch.nan
    with pytest.raises(UserError, match=r"of cloud 10 .* are of edge_convs\.1 \(EdgeConv\), from "
                       r"input that still is; of its weights linear\.weight are not"):  # fmt: skip
        look_inside(encoder, [batch(3, seed=1)], 1)

    class Sensitive(PointMlp):
        def forward(self, xyz: Tensor, feats: Tensor | None = None) -> Features:
            features = super().forward(xyz, feats)
            features.cloud[xyz.amax((1, 2)) == worst] = torch.inf
            return features

    clouds = batch(4)
    worst = clouds.xyz[2].amax()
    with pytest.raises(UserError, match=r"of cloud 02 .* of the encoder itself \(Sensitive\)"):
        look_inside(Sensitive(), [clouds], 1)


def test_collapse_and_outliers_are_reported():
    encoder = PointMlp().eval()
    nn.init.zeros_(encoder.linear.weight)
    encoder.linear.bias.data.fill_(1)
    found = look_inside(encoder, [batch(2)], 1).statistics
    assert found["linear"]["rank"] == pytest.approx(1, abs=1e-3)
    assert any("COLLAPSED: the features of linear, dropout" in line for line in warnings_of(found))
    far = batch(2)
    far.xyz[0, 0] *= 1000
    found = look_inside(PointMlp().eval(), [far], 1).statistics
    assert found["linear"]["outliers"]["count"] == 1
    (line,) = [line for line in warnings_of(found) if "outliers in linear" in line]
    assert "1 places (2.08%)" in line
    assert len(layers_table(found)) == 4


def test_colours_are_the_components_and_outliers_do_not_use_up_the_range():
    generator = torch.Generator().manual_seed(0)
    parts = torch.rand(2, 300, 3, generator=generator) * torch.tensor([4.0, 2.0, 1.0])
    turn = torch.linalg.qr(torch.randn(20, 20, generator=generator)).Q[:3]
    plain = component_colours(parts @ turn)
    spoilt = parts @ turn
    spoilt[0, :3] += 1e3 * torch.randn(3, 20, generator=generator)
    for colours in (plain, component_colours(spoilt)):
        assert colours.shape == (2, 300, 3)
        assert colours.min() == 0
        assert colours.max() == 1
        for channel in range(3):
            mine = colours[..., channel].ravel()[3:]
            truth = parts[..., channel].numpy().ravel()[3:]
            assert abs(np.corrcoef(mine, truth)[0, 1]) > 0.95
            assert mine.std() > 0.2
    np.testing.assert_allclose(
        component_colours(-2 * parts @ turn + 7).std(), plain.std(), atol=0.02
    )


def test_colours_of_features_with_few_components():
    line = component_colours(torch.randn(2, 40, 1) * torch.ones(5))
    assert line[..., 0].std() > 0.2
    assert (line[..., 1:] == 0.5).all()
    assert (component_colours(torch.full((2, 40, 5), 0.3)) == 0.5).all()
    assert (component_colours(torch.randn(2, 40, 2))[..., 2] == 0.5).all()


def opened(path):
    with Image.open(path) as picture:
        values = np.asarray(picture.convert("RGB"))
    assert 100 < values.shape[0] < 4000
    assert 0.003 < (values < 250).any(-1).mean() < 0.9
    return values.astype(int)


def test_the_sheet_shows_every_cloud_in_the_colours_of_every_layer(tmp_path):
    rng = np.random.default_rng(0)
    clouds = [(f"cloud {i}", rng.normal(size=(200, 3)).astype(np.float32)) for i in range(2)]
    paints = {"red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1)}
    layers = {
        name: ("200 x 8", np.tile(np.array(paint, dtype=float), (2, 200, 1)))
        for name, paint in paints.items()
    }
    layers_sheet(clouds, layers, "title", tmp_path / "sheet.png")
    values = opened(tmp_path / "sheet.png")
    middles = []
    for channel in range(3):
        others = np.delete(values, channel, axis=-1).max(-1)
        y, x = np.nonzero((values[..., channel] > 80) & (others < 60))
        middles.append(x.mean())
        half = values.shape[0] / 2
        assert 0.2 < (y < half).mean() < 0.8  # in both rows
    assert middles == sorted(middles)

    many = {f"layer {i}": next(iter(layers.values())) for i in range(30)}
    layers_sheet(clouds[:1], many, "title", tmp_path / "many.png")
    assert opened(tmp_path / "many.png").shape[1] < 2600
    with pytest.raises(UsageError, match="no layers"):
        layers_sheet(clouds, {}, "title", tmp_path / "none.png")
    assert len(list(tmp_path.iterdir())) == 2


def test_the_heat_map_is_dark_where_layers_are_alike(tmp_path):
    values = [[1.0, 0.0], [0.0, float("nan")]]
    cka_figure([("a", "b", ["x", "y"], ["x", "y"], values)], tmp_path / "cka.png")
    picture = opened(tmp_path / "cka.png")
    assert (np.abs(picture - (8, 48, 107)).max(-1) < 3).sum() > 500  # the darkest of the blues
    assert (np.abs(picture - 217).max(-1) < 3).sum() > 500  # grey: no value
    names = [f"blocks.{i}" for i in range(24)]
    large = np.random.default_rng(0).random((24, 24)).tolist()
    panels = [("a", "a", names, names, large), ("a", "b", names, ["x"], [[0.5]] * 24)]
    cka_figure(panels, tmp_path / "large.png")
    opened(tmp_path / "large.png")
    with pytest.raises(UsageError, match="no layers to compare"):
        cka_figure([("a", "b", [], ["x"], [])], tmp_path / "none.png")


def test_tensorboard_gets_figures_and_coloured_clouds(tmp_path):
    Image.new("RGB", (40, 30), "red").save(tmp_path / "picture.png")
    xyz = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    colours = np.tile([1.0, 0.5, 0.0], (50, 1))
    write_board(
        tmp_path / "board", {"sheet": tmp_path / "picture.png"}, {"last/chair": (xyz, colours)}
    )
    board = EventAccumulator(str(tmp_path / "board"), size_guidance={"tensors": 0}).Reload()
    (image,) = board.Images("sheet")
    assert (image.width, image.height) == (40, 30)
    tensors = [
        make_ndarray(board.Tensors(tag)[0].tensor_proto)[0]
        for tag in board.Tags()["tensors"]
        if tag.startswith("last/chair")
    ]
    places, paint = (part for part in tensors if part.shape == (50, 3))
    assert np.array_equal(places, xyz)
    assert paint.tolist() == [[255, 128, 0]] * 50

    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file.*can't be written"):
        write_board(tmp_path / "file" / "board", {}, {})
