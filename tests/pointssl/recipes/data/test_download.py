"""`pointssl data download`: terms, a folder from the environment, and an interrupted download."""

import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial

import pytest
from hostile_server import (
    good,
    serving,
)
from processes import ENV
from small_archives import BODY, HASTY, put_in_catalogue

from pointssl.config.data import DownloadConfig
from pointssl.recipes.data import download as recipe
from pointssl_datasets.base.errors import UsageError, UserError
from pointssl_datasets.catalogue import CATALOGUE


@pytest.fixture
def server():
    with serving() as server:
        yield server


@pytest.fixture
def catalogue(monkeypatch, server):
    """Puts an archive of the server into ModelNet40's entry."""
    return partial(put_in_catalogue, monkeypatch, server)


def config(tmp_path, **more):
    facts = {"name": "modelnet40", "to": tmp_path / "data", "progress": False}
    return DownloadConfig(**{**facts, **more})


def test_terms_come_first(server, tmp_path, catalogue, capsys, monkeypatch):
    server.pages["/a.zip"] = good(BODY)
    catalogue("/a.zip")
    with pytest.raises(UsageError, match="--accept-terms") as caught:
        recipe.run(config(tmp_path), HASTY)
    assert caught.value.exit_code == 2
    assert CATALOGUE["modelnet40"].terms in capsys.readouterr().out
    assert not server.requests
    assert not (tmp_path / "data").exists()

    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda _: "n")
    with pytest.raises(UsageError, match="not accepted"):
        recipe.run(config(tmp_path), HASTY)
    assert not server.requests
    monkeypatch.setattr("builtins.input", lambda _: "Yes")
    folder = recipe.run(config(tmp_path), HASTY)
    assert folder.is_dir()
    assert "80 train" in capsys.readouterr().out


def test_accepted_on_the_command_line(server, tmp_path, catalogue, capsys):
    server.pages["/a.zip"] = good(BODY)
    catalogue("/a.zip")
    recipe.run(config(tmp_path, accept_terms=True), HASTY)
    out = capsys.readouterr().out
    assert out.index("Terms of modelnet40") < out.index("SHA-256")


INTERRUPTED = """
import dataclasses, sys
from pathlib import Path
from pointssl.config.data import DownloadConfig
from pointssl.recipes.data.download import run
from pointssl_datasets.catalogue import Archive
from pointssl_datasets.sets.modelnet import ENTRIES

archive = Archive(file_name="a.zip", urls=(sys.argv[1],))
ENTRIES["modelnet40"] = dataclasses.replace(ENTRIES["modelnet40"], archives=(archive,))
run(DownloadConfig(name="modelnet40", to=Path(sys.argv[2]), accept_terms=True))
"""


def test_interrupt_keeps_the_part_and_says_how_to_go_on(server, tmp_path):
    """A real ^C, and the same command again."""
    gate = threading.Event()

    def page(handler, seen):
        if seen:
            return good(BODY)(handler, seen)
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(BODY)))
        handler.send_header("ETag", '"1"')
        handler.end_headers()
        handler.wfile.write(BODY[:1000])
        gate.wait(30)

    server.pages["/a.zip"] = page
    command = [sys.executable, "-c", INTERRUPTED, f"{server.url}/a.zip", str(tmp_path)]
    first = subprocess.Popen(command, env=ENV, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    end = time.monotonic() + 60
    while not any(part.stat().st_size for part in tmp_path.rglob("*.part")):
        assert time.monotonic() < end
        time.sleep(0.01)
    first.send_signal(signal.SIGINT)
    out, _ = first.communicate(timeout=60)
    gate.set()
    assert b"the same command resumes the download" in out
    assert next(tmp_path.rglob("*.part")).stat().st_size == 1000
    second = subprocess.run(command, env=ENV, capture_output=True, timeout=60, text=True)
    assert (second.returncode, second.stderr) == (0, "")
    assert server.requests[-1].range == "bytes=1000-"
    assert "80 train, 20 test in 40 classes" in second.stdout
    assert os.listdir(tmp_path) == ["modelnet40_ply_hdf5_2048"]


def test_folder_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("POINTSSL_DATA", str(tmp_path / "there"))
    (tmp_path / "mine.zip").write_bytes(BODY)
    folder = recipe.run(DownloadConfig(name="modelnet40", archive=(tmp_path / "mine.zip",)))
    assert folder == tmp_path / "there" / "modelnet40_ply_hdf5_2048"
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is a file"):
        recipe.run(DownloadConfig(name="modelnet40", to=tmp_path / "file"))
