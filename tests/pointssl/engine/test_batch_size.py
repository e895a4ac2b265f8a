"""--batch-size auto: the search, the line through small batches, and real tries."""

import math

import pytest
import torch
from processes import pointssl
from tiny import flags, options, write_clouds

from pointssl.checkpoints.file import load_checkpoint
from pointssl.config.groups import AUTO
from pointssl.config.pretrain import PretrainConfig
from pointssl.engine.batch_size import Tries, free_memory, largest, try_batch, with_batch_size
from pointssl.engine.distributed import World
from pointssl.engine.trial import is_shortage
from pointssl.recipes.pretrain import RECIPE
from pointssl_datasets.base.errors import UsageError, UserError

ALONE = World(rank=0, local_rank=0, size=1, device=torch.device("cpu"))


@pytest.mark.parametrize("start", [1, 4, 8])
@pytest.mark.parametrize("most", [0, 1, 3, 100, 1000])
def test_the_search_ends_within_an_eighth_and_tries_few(most, start):
    for room in (0, 1, 2, 7, 8, 9, 64, 500, 5000):
        tried = []

        def fits(count, room=room, tried=tried):
            tried.append(count)
            return count <= room

        found, best = largest(fits, most, start), min(room, most)
        assert found <= best
        assert best - found <= max(1, found // 8)
        assert (found > 0) == (best > 0)
        assert len(tried) == len(set(tried)) <= 2 * math.log2(max(2, most)) + 4


def test_a_line_through_two_small_batches_says_what_larger_ones_take(tmp_path):
    tries = Tries(PretrainConfig(batch_size=AUTO), RECIPE, tmp_path, part=2, limit=1000)
    tries.peaks = {4: 140.0, 8: 180.0, 64: math.inf}  # 100, and 10 each
    assert tries.expect(90)
    assert not tries.expect(91)
    assert tries.expect(8)
    tries.limit = 150
    assert not tries.expect(8)


def test_what_is_a_number_stays_and_a_run_goes_on_as_it_began(tmp_path):
    config = PretrainConfig(batch_size=12)
    assert with_batch_size(config, 100, ALONE, run=RECIPE) is config
    assert PretrainConfig(batch_size="auto").batch_size == AUTO
    assert PretrainConfig(batch_size="7").batch_size == 7
    with pytest.raises(UsageError, match=r"--batch-size 1: must be at least 2"):
        PretrainConfig(batch_size="1")


def test_shortage_is_told_from_other_failures():
    assert is_shortage(MemoryError())
    assert is_shortage(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"))
    assert is_shortage(RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB"))
    assert not is_shortage(RuntimeError("shapes do not match"))
    assert free_memory() > 2**24


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"accumulate": 3}, r"--accumulate 3: the 8 clouds .* do not divide into so many parts"),
        ({"accumulate": 8}, r"--accumulate 8 leaves parts of a single cloud: lower it"),
    ],
)
def test_batches_that_have_no_such_parts_are_refused(tmp_path, changes, said):
    from pointssl.recipes.pretrain import run

    root = write_clouds(tmp_path / "clouds", per_class=2, pictures=False)
    with pytest.raises(UsageError, match=said):
        run(PretrainConfig(**options(root, tmp_path / "run", image_encoder="none", **changes)))


@pytest.mark.slow
def test_a_run_chooses_says_and_keeps_its_batch_size(tmp_path):
    root = write_clouds(tmp_path / "clouds", per_class=4)
    words = flags(options(root, tmp_path / "run", batch_size="auto", accumulate=2))
    first = pointssl("pretrain", *words)
    assert first.returncode == 0, first.stderr
    assert "--batch-size auto: 12 (" in first.stdout  # all the clouds there are
    assert "10 negatives a row (2 parts have their own)" in first.stdout
    path = tmp_path / "run" / "checkpoints" / "last.pt"
    assert load_checkpoint(path)["config"]["batch_size"] == 12
    again = pointssl("pretrain", *words)
    assert again.returncode == 0, again.stderr
    assert "trying" not in again.stdout
    assert "is finished" in again.stdout


@pytest.mark.slow
def test_a_try_that_finds_no_memory_says_so_and_one_that_fails_says_why(tmp_path):
    root = write_clouds(tmp_path / "clouds", per_class=4, pictures=False)
    plain = options(root, tmp_path / "run", image_encoder="none", batch_size="auto")
    config = PretrainConfig(**{**plain, "embedding": 200_000})
    assert try_batch(config, 8, tmp_path / "tries", 600 * 2**20, RECIPE) == math.inf
    wrong = PretrainConfig(**{**plain, "backbone": "dgcn"})
    with pytest.raises(UserError, match=r"--batch-size auto, trying 8: .*unknown backbone|no "):
        try_batch(wrong, 8, tmp_path / "tries", None, RECIPE)
