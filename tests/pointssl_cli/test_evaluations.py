"""The evaluations on frozen features from the command line, on data that fit in a second."""

import json
import re

import pytest
import torch
from in_process import refused, worked
from processes import pointssl, started, wait_until
from tiny import flags, options, write_clouds

from pointssl.config import evaluate
from pointssl.config.options import Options, make, to_yaml
from pointssl.probes import PROBES, fewshot
from pointssl.probes.build import eval_config
from pointssl.recipes.finetune import fewshot as fewshot_finetune

FROZEN = ("eval-knn", "eval-linear", "eval-cluster", "eval-retrieval", "eval-fewshot")
FEW = ("--way", 2, "--way", 3, "--shot", 3)
FINETUNE = ("--protocol", "point-mae", "--way", 3, "--shot", 4, "--runs", 3, "--epochs", 2)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    before = torch.get_num_threads()
    yield write_clouds(tmp_path_factory.mktemp("few") / "clouds", per_class=24, pictures=False)
    torch.set_num_threads(before)


def command(name, root, out, *words, **changes):
    given = options(root, None, seeds=2, out=out, **changes)
    for other in ("image_encoder", "image_size", "projection", "epochs", "run_dir", "batch_size"):
        given.pop(other)
    few = FEW if name == "eval-fewshot" and not words else ()
    return [name, *flags(given), *few, *words]


@pytest.fixture(scope="module")
def weights(root):
    """A checkpoint of `pretrain`, by the command itself."""
    from pointssl_cli.main import main

    run = root.parent / "run"
    with pytest.raises(SystemExit) as end:
        main(["pretrain", *flags(options(root, run, epochs=1, image_encoder="none"))])
    assert end.value.code == 0
    return run / "checkpoints" / "last.pt"


def results_in(folder):
    return json.loads((folder / "results.json").read_text())["results"]


@pytest.mark.parametrize("name", FROZEN)
def test_the_second_call_reads_the_cache_and_agrees(capfd, root, weights, tmp_path, name):
    words = ("--weights", weights)
    few = FEW if name == "eval-fewshot" else ()
    first = worked(capfd, *command(name, root, tmp_path / "a", *words, *few))
    again = worked(capfd, *command(name, root, tmp_path / "b", *words, *few))
    assert "protocol strict" in " ".join(first.split())
    assert "computed" not in again
    found = results_in(tmp_path / "a")
    assert found == results_in(tmp_path / "b")
    assert list(found) == ["pretrained", "random init"]
    for result in found.values():
        assert (result["protocol"], result["points"], result["seeds"]) == ("strict", 32, 2)
        assert not any("LEAKAGE" in note for note in result["notes"])
    pictures = list((tmp_path / "a").glob("*.png"))
    assert len(pictures) == (2 if name in ("eval-knn", "eval-linear") else 1)
    for picture in pictures:
        assert picture.read_bytes().startswith(b"\x89PNG")
        assert str(picture) in first


def test_what_was_pretrained_on_is_found_out(capfd, root, weights, tmp_path):
    words = command("eval-fewshot", root, tmp_path, "--weights", weights, "--no-baseline")
    printed = worked(capfd, *words, "--protocol", "crosspoint", "--way", 2, "--shot", 4)
    assert "pretrained on this train split, from which the queries come" in " ".join(
        printed.split()
    )
    (found,) = results_in(tmp_path).values()
    assert found["points"] == 32
    assert any("32 points were asked for" in line for line in found["caveats"])
    content = torch.load(weights, weights_only=True)
    content["facts"]["trained_on"]["fingerprint"] = found["fingerprints"]["test"]
    torch.save(content, tmp_path / "seen.pt")
    for name in FROZEN:
        words = command(name, root, tmp_path / name, "--weights", tmp_path / "seen.pt")
        few = FEW if name == "eval-fewshot" else ()
        assert "LEAKAGE" in worked(capfd, *words, *few, "--no-baseline")


def test_crosspoint_takes_the_first_of_all_stored_points(capfd, root, tmp_path):
    words = command("eval-fewshot", root, tmp_path, "--protocol", "crosspoint", "--way", 2,
                    "--shot", 4, points=None)  # fmt: skip
    printed = worked(capfd, *words)
    assert "caveat: support and query both come from the train split" in printed
    (found,) = results_in(tmp_path).values()
    assert (found["points"], found["sampling"], found["seeds"]) == (64, "first", 1)
    document = json.loads((tmp_path / "episodes.json").read_text())
    assert (document["query_split"], len(document["settings"][0]["episodes"])) == ("train", 10)


def test_episodes_are_used_again(capfd, root, tmp_path):
    worked(capfd, *command("eval-fewshot", root, tmp_path / "a"))
    file = tmp_path / "a" / "episodes.json"
    words = ("--episodes", file)
    worked(capfd, *command("eval-fewshot", root, tmp_path / "b", *words))
    one, two = (results_in(tmp_path / name)["random init"]["settings"] for name in "ab")
    assert one == two
    assert not (tmp_path / "b" / "episodes.json").exists()
    seeded = (*FEW, "--episode-seed", 1)
    worked(capfd, *command("eval-fewshot", root, tmp_path / "c", *seeded))
    assert results_in(tmp_path / "c")["random init"]["settings"] != one
    for more, said in (
        (("--protocol", "point-mae"), "its protocol is 'strict', here it is 'point-mae'"),
        (("--way", 2), "--episodes .* says ways, shots and runs"),
        (("--normalise", "none"), "made for other clouds than those of folder as they are here"),
    ):
        line = refused(capfd, 2, *command("eval-fewshot", root, tmp_path / "d", *words, *more))
        assert re.search(said, line)
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize(
    ("code", "words", "said"),
    [
        (1, (), r"5-way 10-shot can't be: 3 of 3 classes .*\(and so for 3 other settings\)"),
        (1, ("--way", 3, "--shot", 25), "3-way 25-shot can't be: 0 of 3 classes of folder"),
        (2, ("--way", 1), "--way 1: must be a whole number, at least 2"),
        (2, ("--shot", "many"), "--shot many: must be a whole number, at least 1"),
        (2, ("--protocol", "point-mea"), "did you mean 'point-mae'"),
        (2, ("--episodes", "absent.json"), "--episodes absent.json: No such file"),
        (2, ("--episodes", __file__), "not a file of episodes: no JSON"),
    ],
)
def test_mistakes_are_one_line(capfd, root, tmp_path, code, words, said):
    words = words or ("--shot", 10, "--shot", 20)
    assert re.search(said, refused(capfd, code, *command("eval-fewshot", root, tmp_path, *words)))
    assert not list(tmp_path.iterdir())


def test_other_mistakes_are_one_line(capfd, root, tmp_path):
    line = refused(capfd, 2, *command("eval-knn", root, tmp_path, "--neighbours", 1000))
    assert "--neighbours 1000: there are only 72 labels" in line
    line = refused(capfd, 2, *command("eval-linear", root, tmp_path, "--c", 0))
    assert "--c 0.0: must be at least" in line
    line = refused(capfd, 1, *command("eval-linear", root, tmp_path, "--label-fraction", 0.01))
    assert "give --c" in line
    words = command("eval-svm", root, tmp_path, "--all-protocols", "--c", 1)
    assert "--c 1.0 is of one evaluation" in refused(capfd, 2, *words)
    assert not list(tmp_path.iterdir())


def test_finished_folds_are_not_trained_again(capfd, root, tmp_path, monkeypatch):
    trained = []
    one_fold = fewshot_finetune.finetune_fold

    def counted(*arguments, seed):
        trained.append(seed)
        return one_fold(*arguments, seed=seed)

    monkeypatch.setattr(fewshot_finetune, "finetune_fold", counted)
    words = command("eval-fewshot", root, tmp_path, *FINETUNE)
    printed = worked(capfd, *words)
    assert "caveat: 2 epochs instead of the protocol's 150" in printed
    assert "caveat: 3 episodes of each setting instead of 10" in printed
    first, folds = results_in(tmp_path), tmp_path / "folds.jsonl"
    assert trained == [0, 1, 2]
    lines = folds.read_text().splitlines()
    assert len(lines) == 4
    folds.write_text("\n".join(lines[:3]) + "\n" + lines[3][:20])  # cut off in its last line
    worked(capfd, *words)
    assert trained == [0, 1, 2, 2]
    assert folds.read_text().splitlines() == lines
    assert results_in(tmp_path) == first
    other = command("eval-fewshot", root, tmp_path, *FINETUNE[:-1], 3)
    assert "holds folds of other episodes, data or options" in refused(capfd, 2, *other)
    assert folds.read_text().splitlines() == lines


def test_fine_tuning_learns_and_leaves_the_encoder_as_it_was(capfd, root, tmp_path):
    words = (*FINETUNE[:-3], 2, "--epochs", 60)
    worked(capfd, *command("eval-fewshot", root, tmp_path, *words))
    (setting,) = results_in(tmp_path)["random init"]["settings"]
    assert setting["accuracy"]["mean"] > 0.6  # chance is a third
    digests = {json.loads(line).get("encoder") for line in
               (tmp_path / "folds.jsonl").read_text().splitlines()[1:]}  # fmt: skip
    assert len(digests) == 1


@pytest.mark.slow
def test_a_killed_run_goes_on(root, tmp_path):
    words = command("eval-fewshot", root, tmp_path / "killed", *FINETUNE[:-1], 30)
    folds = tmp_path / "killed" / "folds.jsonl"

    def one_is_done():
        return folds.exists() and folds.read_text().count("\n") > 1

    with started(*words) as process:
        wait_until(one_is_done, process)
    done = folds.read_text().splitlines()[1]
    assert pointssl(*words).returncode == 0
    assert folds.read_text().splitlines()[1] == done
    whole = pointssl(*command("eval-fewshot", root, tmp_path / "whole", *FINETUNE[:-1], 30))
    assert whole.returncode == 0, whole.stderr
    assert results_in(tmp_path / "killed") == results_in(tmp_path / "whole")


def test_two_processes_say_what_one_does(capfd, root, tmp_path):
    for name in ("eval-all", "eval-fewshot"):
        words = FINETUNE if name == "eval-fewshot" else ("--no-cached-feats",)
        done = pointssl(*command(name, root, tmp_path / name, *words), ranks=2)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("results.json") == 1
    worked(capfd, *command("eval-all", root, tmp_path / "one", "--no-cached-feats"))
    one, two = results_in(tmp_path / "one"), results_in(tmp_path / "eval-all")
    assert list(one) == list(two)
    for key, number in (("knn", "accuracy"), ("cluster", "nmi"), ("retrieval", "map_test")):
        found = [result[key]["random init"][number]["mean"] for result in (one, two)]
        assert found[0] == pytest.approx(found[1], abs=1e-3)
    (tuned,) = results_in(tmp_path / "eval-fewshot").values()
    assert len(tuned["settings"][0]["accuracy"]["per_run"]) == 3


@pytest.mark.parametrize("name", ["eval-all", "eval-svm"])
def test_everything_in_one_table(capfd, root, weights, tmp_path, name):
    flag = ("--all-protocols",) if name == "eval-svm" else ()
    printed = worked(capfd, *command(name, root, tmp_path, "--weights", weights, *flag))
    found = results_in(tmp_path)
    assert set(found) == {"svm_strict", "svm_crosspoint", "knn", "linear", "cluster", "retrieval"}
    shown = f"{100 * found['knn']['pretrained']['accuracy']['mean']:.1f} ± "
    (row,) = [line for line in printed.splitlines() if line.startswith("nearest neighbours  ")]
    assert shown in row
    joined = " ".join(printed.split())
    assert "few-shot by full fine-tuning is not among these" in joined
    assert "few-shot strict is left out: 5-way 10-shot can't be: 3 of 3 classes" in joined
    markdown, latex = ((tmp_path / f"results.{e}").read_text() for e in ("md", "tex"))
    assert shown in markdown
    assert shown.replace("±", r"$\pm$") in latex
    assert (tmp_path / "results.png").read_bytes().startswith(b"\x89PNG")


def test_few_shot_tables_stand_apart(capfd, root, tmp_path, monkeypatch):
    monkeypatch.setattr(fewshot, "SETTINGS", ((2, 3), (3, 4)))
    printed = worked(capfd, *command("eval-all", root, tmp_path))
    found = results_in(tmp_path)
    markdown, latex = ((tmp_path / f"results.{e}").read_text() for e in ("md", "tex"))
    assert latex.count(r"\begin{tabular}") == markdown.count("\n## ") + 1 == 3
    for protocol in ("strict", "crosspoint"):
        settings = found[f"fewshot_{protocol}"]["random init"]["settings"]
        first = f"{100 * settings[0]['accuracy']['mean']:.1f} ± "
        table = printed.split(f"protocol {protocol}: accuracy in percent")[1].split("\n\n")[0]
        assert "2-way 3-shot" in table
        assert first in table
        assert (tmp_path / f"fewshot_{protocol}" / "episodes.json").exists()
    assert "never put them in one table" in " ".join(printed.split())


CONFIGS = [
    value
    for value in vars(evaluate).values()
    if isinstance(value, type) and issubclass(value, Options) and value.__name__.endswith("Config")
] + [eval_config(name) for name in PROBES]


@pytest.mark.parametrize("cls", CONFIGS)
def test_options_survive_the_disk(cls, tmp_path):
    given = {"way": ("3", "4")} if cls is eval_config("fewshot") else {}
    config = make(cls, given)
    path = tmp_path / "options.yaml"
    path.write_text(to_yaml(config))
    assert make(cls, {}, path) == config
