"""What a forward pass costs, module by module, against numbers worked out by hand."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pointssl.backbones.base import Features
from pointssl.backbones.build import build_encoder
from pointssl.inspection.non_finite import first_not_finite
from pointssl.inspection.profile import profile_modules
from pointssl.reports.inspection import amount, modules_table

B, N = 2, 10


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(8, 24, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (part[:, None] for part in self.qkv(x).chunk(3, dim=-1))
        return F.scaled_dot_product_attention(q, k, v)[:, 0]


class Net(nn.Module):
    """Known by heart: shares a layer, calls one twice, has one that it never calls."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 8)
        self.twice = nn.Linear(8, 8)
        self.attention = Attention()
        self.unused = nn.Linear(100, 100)
        self.token = nn.Parameter(torch.zeros(8))
        self.again = self.twice

    def forward(self, xyz: Tensor, feats: Tensor | None = None) -> Features:
        x = self.first(xyz) + self.token
        x = self.again(self.twice(x))
        x = self.attention(x)
        closeness = x @ x.mT
        return Features(x.amax(1), closeness @ x)


@pytest.fixture(scope="module")
def rows():
    found = profile_modules(Net().eval(), torch.randn(B, N, 3), passes=2)
    return {row["name"]: row for row in found}


def test_modules_come_in_the_order_of_the_pass_below_their_callers(rows):
    assert list(rows) == ["", "first", "twice", "attention", "attention.qkv"]
    assert [row["depth"] for row in rows.values()] == [0, 1, 1, 1, 2]
    assert rows["attention.qkv"]["caller"] == "attention"
    assert [rows[name]["calls"] for name in ("", "first", "twice")] == [1, 1, 2]


def test_shapes_and_bytes_are_those_of_the_tensors(rows):
    assert rows[""]["in"] == [(B, N, 3)]
    assert rows[""]["out"] == [(B, 8), (B, N, 8)]
    assert rows["attention.qkv"]["out"] == [(B, N, 24)]
    assert rows["first"]["output_bytes"] == 4 * B * N * 8
    assert rows["twice"]["output_bytes"] == 2 * 4 * B * N * 8


def test_parameters_count_once(rows):
    assert rows["first"]["parameters"] == 3 * 8 + 8
    assert rows["twice"]["parameters"] == 8 * 8 + 8
    assert rows["attention"]["parameters"] == 8 * 24
    assert rows[""]["parameters"] == 32 + 72 + 192 + 8 + 100 * 101
    assert rows[""]["own"]["parameters"] == 8 + 100 * 101  # the token and what is never called
    assert rows["attention"]["own"]["parameters"] == 0


def test_multiply_adds_are_those_of_the_products(rows):
    products = {"first": B * N * 3 * 8, "twice": 2 * B * N * 8 * 8, "attention.qkv": B * N * 8 * 24}
    attended = 2 * B * N * N * 8  # queries with keys, weights with values
    outside = 2 * B * N * N * 8  # in the network itself
    for name, expected in products.items():
        assert rows[name]["multiply_adds"] == rows[name]["own"]["multiply_adds"] == expected
    assert rows["attention"]["own"]["multiply_adds"] == attended
    assert rows["attention"]["multiply_adds"] == attended + products["attention.qkv"]
    assert rows[""]["own"]["multiply_adds"] == outside
    assert rows[""]["multiply_adds"] == sum(products.values()) + attended + outside


def test_attention_counts_the_same_however_it_is_computed():
    from torch.nn.attention import SDPBackend, sdpa_kernel

    with sdpa_kernel(SDPBackend.MATH):
        found = profile_modules(Net().eval(), torch.randn(B, N, 3), passes=1)
    assert found[3]["own"]["multiply_adds"] == 2 * B * N * N * 8


def test_a_dgcnn_by_hand():
    """Neighbours are sought by a product of N x N with C + 1 columns: the last holds the norms."""
    encoder = build_encoder("dgcnn", seed=0, k=4, embedding=16, channels=(8, 6)).eval()
    points = 32
    found = profile_modules(encoder, torch.randn(B, points, 3), passes=1)
    rows = {row["name"]: row for row in found}
    searches = B * points * points * ((3 + 1) + (8 + 1))
    assert rows[""]["own"]["multiply_adds"] == searches
    # A point's own part and that of its neighbours: two products over points, none over edges.
    assert rows["edge_convs.0"]["multiply_adds"] == B * points * 2 * 3 * 8
    assert rows["edge_convs.1"]["multiply_adds"] == B * points * 2 * 8 * 6
    assert rows["last"]["multiply_adds"] == B * points * (8 + 6) * 16
    assert rows[""]["parameters"] == sum(p.numel() for p in encoder.parameters())


def test_time_is_taken_where_it_is_spent():
    class Slow(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            for _ in range(40):
                x = torch.linalg.qr(x @ x.mT).Q[..., :3]
            return x

    encoder = nn.Sequential(nn.Identity(), Slow())
    encoder.forward = lambda xyz, feats: encoder[1](encoder[0](xyz))
    rows = profile_modules(encoder, torch.randn(B, 64, 3), passes=3)
    whole, quick, slow = (row["seconds"] for row in rows)
    assert whole >= slow > 20 * quick >= 0
    assert rows[0]["own"]["seconds"] < 0.2 * whole
    assert rows[0]["peak_bytes"] is None


def test_no_hook_and_no_setting_stays_behind():
    encoder = Net().eval()
    before = torch.backends.mha.get_fastpath_enabled()
    with pytest.raises(RuntimeError):
        profile_modules(encoder, torch.randn(B, N, 4), passes=1)
    assert torch.backends.mha.get_fastpath_enabled() == before
    for module in encoder.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks


def test_torchs_own_encoder_layer_shows_what_is_inside():
    class Wrapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)

        def forward(self, x: Tensor, feats: Tensor | None = None) -> Tensor:
            return self.block(x)

    rows = profile_modules(Wrapped().eval(), torch.randn(B, N, 8), passes=1)
    rows = {row["name"]: row for row in rows}
    assert rows["block.linear1"]["multiply_adds"] == B * N * 8 * 16
    assert rows["block.self_attn"]["multiply_adds"] == B * N * 8 * 8 * 4 + 2 * B * N * N * 8


def test_the_table_is_a_tree_of_the_depth_that_is_asked_for(rows):
    lines = modules_table(list(rows.values()), 2)
    names = [line.split()[0] for line in lines[2:]]
    assert names == ["encoder", "(itself)", "first", "twice", "attention", "(itself)", "qkv"]
    assert "twice x2" in lines[5]
    assert "2x10x8" in lines[4]
    assert lines[-1].startswith("    qkv")
    assert len(modules_table(list(rows.values()), 0)) == 4
    assert "--depth 2" in modules_table(list(rows.values()), 1)[-1]
    on_a_gpu = [{**row, "peak_bytes": 2_000_000} for row in rows.values()]
    lines = modules_table(on_a_gpu, 2)
    assert lines[0].endswith("peak")
    assert lines[2].endswith("2.00 MB")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_the_peak_is_at_least_what_a_module_holds_at_once():
    encoder = nn.Sequential(nn.Linear(3, 512), nn.Linear(512, 4)).cuda()
    encoder.forward = lambda xyz, feats: encoder[1](encoder[0](xyz))
    rows = profile_modules(encoder, torch.randn(8, 1024, 3, device="cuda"), passes=2)
    wide, narrow = 4 * 8 * 1024 * 512, 4 * 8 * 1024 * 4
    assert wide + narrow <= rows[0]["peak_bytes"] < 2 * wide
    assert wide <= rows[1]["peak_bytes"]
    assert narrow <= rows[2]["peak_bytes"] < wide
    assert rows[0]["seconds"] > 0


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (999, "999"), (1000, "1.00 k"), (12_345, "12.3 k"), (999_600, "1.00 M"),
     (123_456_789, "123 M"), (7.24e9, "7.24 G"), (9.999e9, "10.0 G")],
)  # fmt: skip
def test_amounts_have_three_digits(value, text):
    assert amount(value) == text


def test_the_first_module_that_fails_is_named():
    encoder = Net().eval()
    xyz = torch.randn(B, N, 3)
    assert first_not_finite(encoder, xyz) is None
    with torch.no_grad():
        encoder.attention.qkv.weight[3, 2] = torch.nan
    said = first_not_finite(encoder, xyz)
    assert said == (
        "attention.qkv (Linear), from input that still is; of its weights weight are not finite"
    )
    with torch.no_grad():
        encoder.attention.qkv.weight[3, 2] = 0
        encoder.token[0] = torch.inf
    assert first_not_finite(encoder, xyz) == "twice (Linear), from input that already is not"
