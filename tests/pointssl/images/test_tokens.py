"""Tokens of images: shapes, their order over the grid, and encoders that have none."""

import copy

import pytest
import torch
from moving_square import cells_that_react
from torch import Tensor, nn

from pointssl.images import IMAGE_ENCODERS, build_image_encoder
from pointssl.images.tokens import ImageTokens, image_tokens, token_dim, tokens_of_map
from pointssl_datasets.base.errors import UsageError


@pytest.mark.parametrize("name", IMAGE_ENCODERS)
@pytest.mark.parametrize("stage", [1, 2, 3, 4])
def test_tokens_of_a_resnet_are_the_cells_of_a_stage(name: str, stage: int) -> None:
    encoder = build_image_encoder(name).eval()
    images = torch.rand(2, 3, 64, 96)
    seen: dict[str, Tensor] = {}
    layer = encoder.get_submodule(f"layer{stage}")
    layer.register_forward_hook(lambda _m, _i, out: seen.update(map=out))
    pooled, tokens, grid = image_tokens(encoder, images, stage)
    assert grid == (64 // (2 << stage), 96 // (2 << stage))
    assert tokens.shape == (2, grid[0] * grid[1], token_dim(encoder, stage=stage))
    for row in range(grid[0]):
        for column in range(grid[1]):
            assert torch.equal(tokens[:, row * grid[1] + column], seen["map"][:, :, row, column])
    assert torch.equal(pooled, encoder(images))
    if stage == 4:
        torch.testing.assert_close(tokens.mean(dim=1), pooled)
        assert token_dim(encoder) == encoder.dim


def test_the_last_stage_is_the_default_and_gradients_flow() -> None:
    encoder = build_image_encoder("resnet18")
    state = copy.deepcopy(encoder.state_dict())
    images = torch.rand(2, 3, 64, 64)
    last = image_tokens(encoder, images, 4)
    encoder.load_state_dict(state)  # batch norm has counted
    found = encoder.tokens(images)
    assert isinstance(found, ImageTokens)
    assert torch.equal(found.tokens, last.tokens)
    found.tokens.square().mean().backward()
    assert all(p.grad is not None for p in encoder.parameters())


@pytest.mark.parametrize(("height", "width"), [(128, 128), (96, 192), (160, 64)])
def test_a_bright_square_moves_along_the_grid(height: int, width: int) -> None:
    torch.manual_seed(0)
    encoder = build_image_encoder("resnet18").eval()
    encoder.token_dim = encoder.token_dims[2]
    stage3 = encoder.tokens
    encoder.tokens = lambda images: stage3(images, stage=3)  # 32 px blur less of it than stage 4
    grid = (height // 16, width // 16)
    found = cells_that_react(encoder, height, width, grid)
    expected = torch.arange(grid[0] * grid[1]).view(grid)
    row, column = found // grid[1], found % grid[1]
    assert (row - expected // grid[1]).abs().max() <= 1  # a stride may favour a neighbour
    assert (column - expected % grid[1]).abs().max() <= 1
    assert (found == expected).float().mean() > 0.5


def test_a_map_in_row_major_order() -> None:
    features = torch.arange(2 * 3 * 2 * 4).view(2, 3, 2, 4)
    tokens, grid = tokens_of_map(features)
    assert grid == (2, 4)
    assert tokens[1, 1 * 4 + 3].tolist() == features[1, :, 1, 3].tolist()


class Vector(nn.Module):
    """The user's own encoder, which gives a vector alone."""

    dim = 3

    def forward(self, images: Tensor) -> Tensor:
        return images.mean(dim=(2, 3))


class Cells(Vector):
    """The user's own encoder with tokens."""

    token_dim = 3

    def tokens(self, images: Tensor) -> ImageTokens:
        return ImageTokens(self(images), *tokens_of_map(nn.functional.avg_pool2d(images, 8)))


def test_own_encoders() -> None:
    images = torch.rand(2, 3, 16, 24)
    found = image_tokens(Cells(), images)
    assert found.grid == (2, 3)
    torch.testing.assert_close(found.tokens[:, 4], images[:, :, 8:, 8:16].mean(dim=(2, 3)))
    assert token_dim(Cells()) == 3
    with pytest.raises(UsageError, match="image tokens of stage 2: Cells has stages 1 to 1"):
        token_dim(Cells(), stage=2)


def test_encoders_without_tokens_say_so_in_one_line() -> None:
    for call in (
        lambda: image_tokens(Vector(), torch.rand(1, 3, 8, 8)),
        lambda: token_dim(Vector(), "my_nets:Vector"),
    ):
        with pytest.raises(
            UsageError, match=r"^--image-encoder (my_nets:)?Vector: .*no tokens"
        ) as e:
            call()
        assert "\n" not in str(e.value)


@pytest.mark.parametrize("stage", [0, 5])
def test_stages_that_do_not_exist(stage: int) -> None:
    encoder = build_image_encoder("resnet18")
    with pytest.raises(UsageError, match=rf"image tokens of stage {stage}: .* has stages 1 to 4"):
        image_tokens(encoder, torch.rand(1, 3, 32, 32), stage)
    with pytest.raises(UsageError, match="has stages 1 to 4"):
        token_dim(encoder, stage=stage)
