"""The feature cache: exact hits, and misses for everything else; real files, real processes."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from pointssl.features import cache as module
from pointssl.features.cache import FeatureCache, weights_hash

ROOT = Path(__file__).resolve().parents[3]
FACTS = {"weights": "ab" * 32, "dataset": "shapes", "points": 1024, "turn": None, "sizes": [1, 2]}


def arrays():
    rng = np.random.default_rng(0)
    return {
        "cloud": rng.normal(size=(7, 12)).astype(np.float32),
        "label": np.arange(7),
        "none": np.zeros((0, 5), np.float32),
        "scalar": np.array(3.5),
        "turned": rng.normal(size=(4, 6)).T,  # not contiguous
    }


@pytest.fixture
def lines():
    return []


@pytest.fixture
def cache(tmp_path, lines):
    return FeatureCache(tmp_path / "features", lines.append)


def same(found, expected):
    return (
        found is not None
        and found.keys() == expected.keys()
        and all(
            np.array_equal(found[k], expected[k])
            and found[k].dtype == expected[k].dtype
            and found[k].shape == expected[k].shape
            for k in expected
        )
    )


def test_what_is_saved_is_loaded(cache, lines):
    assert cache.load(FACTS) is None
    cache.save(FACTS, arrays())
    found = cache.load(FACTS)
    assert same(found, arrays())
    assert all(array.flags.writeable for array in found.values())
    assert [path.suffix for path in cache.root.iterdir()] == [".safetensors"]
    assert lines == []


def test_the_order_of_facts_does_not_matter_and_every_value_does(cache, lines, monkeypatch):
    cache.save(FACTS, arrays())
    assert same(cache.load(dict(reversed(FACTS.items()))), arrays())
    for changed in (
        FACTS | {"points": 1025},
        FACTS | {"points": "1024"},
        FACTS | {"turn": "up"},
        FACTS | {"more": None},
        {k: v for k, v in FACTS.items() if k != "turn"},
    ):
        assert cache.load(changed) is None
    monkeypatch.setattr(module, "FEATURE_VERSION", module.FEATURE_VERSION + 1)
    assert cache.load(FACTS) is None
    assert lines == []  # a plain miss is nothing to speak of


def test_a_file_cut_anywhere_is_a_miss_and_is_replaced(cache, lines):
    cache.save(FACTS, arrays())
    path = cache.path(FACTS)
    whole = path.read_bytes()
    for length in [*range(0, len(whole), 37), len(whole) - 1]:
        path.write_bytes(whole[:length])
        lines.clear()
        assert cache.load(FACTS) is None
        assert len(lines) == 1
        assert "\n" not in lines[0]
        assert str(path) in lines[0]
    cache.save(FACTS, arrays())
    assert same(cache.load(FACTS), arrays())


def test_any_flipped_byte_is_a_miss(cache, lines):
    cache.save(FACTS, arrays())
    path = cache.path(FACTS)
    whole = path.read_bytes()
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << (position % 8)
        path.write_bytes(damaged)
        assert cache.load(FACTS) is None, position
    assert len(lines) == len(whole)


def test_a_foreign_file_is_a_miss(cache, lines, tmp_path):
    path = cache.path(FACTS)
    other = FACTS | {"points": 2048}
    cache.save(other, arrays())
    os.replace(cache.path(other), path)  # a valid file of ours, under another's name
    assert cache.load(FACTS) is None
    save_file(arrays() | {"turned": np.ones(3)}, path)  # without our metadata
    assert cache.load(FACTS) is None
    path.write_text("not features")
    assert cache.load(FACTS) is None
    path.unlink()
    path.mkdir()
    assert cache.load(FACTS) is None
    assert len(lines) == 4
    cache.save(FACTS, arrays())  # can't replace a folder: a line, no exception
    assert "not written, results are not affected" in lines[4]
    assert not list(cache.root.glob(".*"))


def test_a_folder_that_can_not_be_made_is_a_line(tmp_path, lines):
    blocker = tmp_path / "file"
    blocker.write_text("")
    blocked = FeatureCache(blocker / "features", lines.append)
    blocked.save(FACTS, arrays())
    assert blocked.load(FACTS) is None
    assert len(lines) >= 1
    assert "not written" in lines[0]


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="permissions do not bind root"
)
def test_a_folder_without_permission_is_a_line(cache, lines):
    cache.save(FACTS, arrays())
    cache.root.chmod(0o500)
    cache.save(FACTS | {"points": 1}, arrays())
    cache.root.chmod(0o700)
    assert len(lines) == 1
    assert "Permission denied" in lines[0]
    assert same(cache.load(FACTS), arrays())


def run(code, *arguments):
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(str(ROOT / p) for p in (".", "cli", "datasets")),
        "OMP_NUM_THREADS": "1",
    }
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


FULL = """
import resource, sys
from pathlib import Path
import numpy as np
from pointssl.features.cache import FeatureCache
cache = FeatureCache(Path(sys.argv[1]), print)
cache.save({"n": 1}, {"a": np.ones(10)})
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
cache.save({"n": 1}, {"a": np.zeros(100000)})
cache.save({"n": 2}, {"a": np.zeros(100000)})
assert np.array_equal(cache.load({"n": 1})["a"], np.ones(10))
assert cache.load({"n": 2}) is None
print("done", len(list(Path(sys.argv[1]).iterdir())))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no file size limit to set")
def test_a_full_disk_is_a_line_and_leaves_nothing_behind(tmp_path):
    """A file size limit makes the write itself fail, as a full disk does."""
    process = run(FULL, tmp_path)
    output = process.communicate(timeout=60)[0].splitlines()
    assert process.returncode == 0, output
    assert len(output) == 3
    assert all("not written, results are not affected" in line for line in output[:2])
    assert output[2] == "done 1"


WRITER = """
import sys, time
from pathlib import Path
import numpy as np
from pointssl.features.cache import FeatureCache
root, value = Path(sys.argv[1]), float(sys.argv[2])
cache = FeatureCache(root, print)
(root / f"ready{value:g}").touch()
while len(list(root.glob("ready*"))) < 2:
    time.sleep(0.001)
seen = set()
for _ in range(150):
    cache.save({"n": 1}, {"a": np.full((50, 200), value), "b": np.full(1000, value)})
    found = cache.load({"n": 1})
    values = set(np.unique(found["a"])) | set(np.unique(found["b"]))
    assert len(values) == 1, values
    seen |= values
print("seen", sorted(map(float, seen)))
"""


def test_two_processes_write_the_same_entry_at_once(tmp_path):
    writers = [run(WRITER, tmp_path, value) for value in (1, 2)]
    outputs = [writer.communicate(timeout=120)[0] for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0], outputs
    assert all(output.startswith("seen") for output in outputs)  # no line of warning
    assert any("[1.0, 2.0]" in output for output in outputs)  # they did meet
    assert len(list(tmp_path.glob("*.safetensors"))) == 1
    assert not list(tmp_path.glob(".*"))


def test_facts_that_are_not_plain_are_a_bug_not_a_miss(cache):
    with pytest.raises(TypeError):
        cache.save({"path": Path("x")}, arrays())
    with pytest.raises(ValueError, match="JSON"):
        cache.load({"x": float("nan")})


def test_weights_hash_is_of_content_alone():
    torch.manual_seed(0)
    state = {
        "a": torch.randn(3, 4),
        "b": torch.randn(2).to(torch.bfloat16),
        "n": torch.tensor(3),
        "e": torch.zeros(0),
    }
    reference = weights_hash(state)
    assert len(reference) == 64
    assert weights_hash(dict(reversed(state.items()))) == reference
    transposed = state["a"].T.contiguous().T  # other strides, same numbers
    assert weights_hash(state | {"a": transposed}) == reference
    assert weights_hash(state | {"a": torch.nn.Parameter(state["a"])}) == reference
    nudged = state["a"].clone()
    nudged[1, 2] = torch.nextafter(nudged[1, 2], torch.tensor(9.0))
    others = [
        state | {"a": nudged},
        state | {"a": state["a"].reshape(4, 3)},
        state | {"a": state["a"].view(torch.int32)},
        state | {"n": torch.tensor(3, dtype=torch.int32)},
        {("z" if k == "a" else k): v for k, v in state.items()},
        state | {"more": torch.zeros(0)},
        {k: v for k, v in state.items() if k != "e"},
    ]
    hashes = [weights_hash(other) for other in others]
    assert len({reference, *hashes}) == len(others) + 1
    with pytest.raises(TypeError, match="'x' in the state dict is not a tensor"):
        weights_hash({"x": 3})
