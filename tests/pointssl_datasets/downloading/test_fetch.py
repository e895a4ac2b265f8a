"""One file from a real server on this machine that does what servers do, and worse."""

import hashlib
import io
import os
import shutil
import signal
import ssl
import subprocess
import tarfile

import pytest
from hostile_server import (
    answer,
    deaf,
    dropping,
    endless,
    good,
    moved,
    serving,
    silent,
    status,
    trickling,
)
from small_archives import (
    BODY,
    HASTY,
    NOISE,
    published,
    unpublished,
    zipped,
)

from pointssl_datasets.base.errors import UserError
from pointssl_datasets.catalogue import Archive
from pointssl_datasets.downloading.fetch import fetch


@pytest.fixture
def server():
    with serving() as server:
        yield server


def get(server, tmp_path, *paths, archive=None, **more):
    lines = []
    archive = published() if archive is None else archive
    urls = [path if ":" in path else server.url + path for path in paths]
    fetched = fetch(archive, urls, tmp_path, retries=HASTY, say=lines.append, **more)
    return fetched, lines


def refuse(server, tmp_path, *paths, **more):
    with pytest.raises(UserError) as caught:
        get(server, tmp_path, *paths, **more)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "a.zip").exists()
    return str(caught.value)


def test_plain(server, tmp_path):
    server.pages["/a.zip"] = good(BODY)
    fetched, lines = get(server, tmp_path, "/a.zip")
    assert fetched.path.read_bytes() == BODY
    assert (fetched.size, fetched.checked) == (len(BODY), "sha256")
    assert fetched.sha256 == hashlib.sha256(BODY).hexdigest()
    assert not lines
    assert not list(tmp_path.glob("*.part*"))
    assert server.requests[0].encoding == "identity"
    get(server, tmp_path, "/a.zip")  # whole already: nobody is asked
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("validator", "mark"),
    [("ETag", '"7"'), ("Last-Modified", "Sun, 01 Nov 2020 00:00:00 GMT")],
)
def test_dropped_connection_continues_where_it_broke_off(server, tmp_path, validator, mark):
    step = len(NOISE) // 4 + 1
    server.pages["/a.zip"] = dropping(NOISE, step, etag=mark, validator=validator, times=3)
    body = published(NOISE)
    fetched, lines = get(server, tmp_path, "/a.zip", archive=body)
    assert fetched.path.read_bytes() == NOISE
    ranges = [request.range for request in server.requests]
    assert ranges == [None, *(f"bytes={step * i}-" for i in (1, 2, 3))][: len(ranges)]
    assert {request.if_range for request in server.requests[1:]} == {mark}
    assert "stopped after" in lines[0]


def test_a_later_run_continues_too(server, tmp_path):
    server.pages["/a.zip"] = dropping(NOISE, 1000)
    line = refuse(server, tmp_path, "/a.zip", archive=published(NOISE))
    assert f"stopped after 3,000 of {len(NOISE):,} bytes (3 attempts)" in line
    server.pages["/a.zip"] = good(NOISE)
    fetched, _ = get(server, tmp_path, "/a.zip", archive=published(NOISE))
    assert server.requests[-1].range == "bytes=3000-"
    assert fetched.path.read_bytes() == NOISE


def test_whole_part_of_a_killed_run_is_not_fetched_again(server, tmp_path, monkeypatch):
    server.pages["/a.zip"] = good(BODY)
    with monkeypatch.context() as patch:
        patch.setattr("pointssl_datasets.downloading.fetch._verify", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            get(server, tmp_path, "/a.zip")
    assert get(server, tmp_path, "/a.zip")[0].path.read_bytes() == BODY
    assert len(server.requests) == 1


def test_server_that_ignores_ranges_starts_again(server, tmp_path):
    server.pages["/a.zip"] = deaf(BODY, 500)
    fetched, _ = get(server, tmp_path, "/a.zip")
    assert fetched.path.read_bytes() == BODY
    assert [request.range for request in server.requests] == [None, "bytes=500-"]


def test_weak_or_missing_validators_are_not_continued(server, tmp_path):
    for number, mark in enumerate(('W/"1"', "")):
        path = f"/{number}/a.zip"
        server.pages[path] = dropping(BODY, 500, etag=mark, times=1)
        (tmp_path / str(number)).mkdir()
        get(server, tmp_path / str(number), path)
        assert [request.range for request in server.asked(path)] == [None, None]


def test_file_that_changes_between_attempts(server, tmp_path):
    """What came of the old one must not be glued to the new one."""
    new = zipped({"new": b"n" * 5000})

    def page(handler, seen):
        (dropping(NOISE, 1000, etag='"old"') if seen == 0 else good(new, etag='"new"'))(
            handler, seen
        )

    server.pages["/a.zip"] = page
    fetched, _ = get(server, tmp_path, "/a.zip", archive=unpublished())
    assert fetched.path.read_bytes() == new
    assert server.requests[1].if_range == '"old"'
    assert fetched.checked == ""


def test_file_that_has_become_shorter(server, tmp_path):
    short = zipped({"short": b"s"})

    def page(handler, seen):
        if seen == 0:
            dropping(NOISE, 5000)(handler, seen)
        elif handler.headers.get("Range"):
            answer(handler, b"", code=416)
        else:
            good(short)(handler, seen)

    server.pages["/a.zip"] = page
    assert get(server, tmp_path, "/a.zip", archive=unpublished())[0].path.read_bytes() == short


def test_continued_part_of_two_versions_is_fetched_once_more(server, tmp_path):
    """A server that keeps the ETag though the file has changed: the checksum tells."""
    mixed = NOISE[:100] + bytes(400) + NOISE[500:]

    def page(handler, seen):
        (dropping(mixed, 600) if seen == 0 else good(NOISE))(handler, seen)

    server.pages["/a.zip"] = page
    fetched, lines = get(server, tmp_path, "/a.zip", archive=published(NOISE))
    assert fetched.path.read_bytes() == NOISE
    assert [request.range for request in server.requests] == [None, "bytes=600-", None]
    assert any("its sha256 is" in line for line in lines)


def test_another_range_than_was_asked_for(server, tmp_path):
    def page(handler, seen):
        if handler.headers.get("Range"):
            where = f"bytes 0-{len(BODY) - 1}/{len(BODY)}"
            answer(handler, BODY, code=206, Content_Range=where)
        else:
            dropping(BODY, 500, times=1)(handler, seen)

    server.pages["/a.zip"] = page
    fetched, lines = get(server, tmp_path, "/a.zip")
    assert fetched.path.read_bytes() == BODY
    assert any("another range" in line for line in lines)


def test_length_that_promises_more(server, tmp_path):
    server.pages["/a.zip"] = lambda handler, _: answer(handler, BODY, length=len(BODY) + 10)
    line = refuse(server, tmp_path, "/a.zip")
    assert f"offers {len(BODY) + 10:,} bytes instead of {len(BODY):,}" in line
    line = refuse(server, tmp_path, "/a.zip", archive=unpublished())
    assert f"stopped after {len(BODY):,} of {len(BODY) + 10:,} bytes" in line


def test_length_that_promises_less(server, tmp_path):
    page = lambda handler, _: answer(handler, BODY, length=len(BODY) - 100)  # noqa: E731
    server.pages["/a.zip"] = page
    line = refuse(server, tmp_path, "/a.zip")
    assert f"offers {len(BODY) - 100:,} bytes" in line


def test_no_length_at_all(server, tmp_path):
    server.pages["/a.zip"] = lambda handler, _: answer(handler, BODY, length=False)
    assert get(server, tmp_path, "/a.zip")[0].path.read_bytes() == BODY


def test_endless_body(server, tmp_path):
    server.pages["/a.zip"] = endless()
    line = refuse(server, tmp_path, "/a.zip")
    assert f"does not stop after {len(BODY):,} bytes" in line
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("code", [500, 503, 429, 408])
def test_errors_that_pass(server, tmp_path, code):
    server.pages["/a.zip"] = status(code, good(BODY), times=2)
    fetched, lines = get(server, tmp_path, "/a.zip")
    assert fetched.path.read_bytes() == BODY
    assert len(server.requests) == 3
    assert f"answers {code}" in lines[0]


def test_errors_that_stay_and_the_next_mirror(server, tmp_path):
    server.pages |= {"/1": status(500), "/2": status(404), "/3": good(BODY)}
    fetched, _ = get(server, tmp_path, "/1", "/2", "/3")
    assert fetched.origin == f"{server.url}/3"
    assert [len(server.asked(path)) for path in ("/1", "/2", "/3")] == [3, 1, 1]


def test_every_mirror_is_named_with_its_fault(server, tmp_path):
    server.pages |= {"/1": status(500), "/2": status(404)}
    line = refuse(
        server, tmp_path, "/1", "/2", "http://127.0.0.1:1/a.zip", "ftp://x/a.zip", "http://["
    )
    for said in (
        f"{server.url}/1: answers 500", f"{server.url}/2: answers 404", "(3 attempts)",
        "127.0.0.1:1/a.zip: cannot be reached", "ftp://x/a.zip: only http",
        "http://[: is not a valid address", "--from", "--mirror",
    ):  # fmt: skip
        assert said in line


def test_redirects(server, tmp_path):
    server.pages |= {
        "/fine": moved("/really"), "/really": good(BODY), "/circle": moved("/circle"),
        "/file": moved("file:///etc/passwd"), "/ftp": moved("ftp://127.0.0.1/x"),
        "/data": moved("data:text/plain,hello"),
    }  # fmt: skip
    line = refuse(server, tmp_path, "/circle", "/file", "/ftp", "/data")
    assert "/circle: redirects in a circle" in line
    assert "/file: redirects wrongly" in line
    assert "/ftp: redirects to ftp://127.0.0.1/x, which is not followed" in line
    assert "/data: redirects wrongly" in line
    assert get(server, tmp_path, "/fine")[0].path.read_bytes() == BODY


def test_wrong_checksum_then_the_right_mirror(server, tmp_path):
    other = BODY[:-1] + bytes([BODY[-1] ^ 1])
    server.pages |= {"/bad": good(other), "/good": good(BODY)}
    fetched, lines = get(server, tmp_path, "/bad", "/good")
    assert fetched.origin.endswith("/good")
    assert "the published one" in lines[0]
    assert len(server.asked("/bad")) == 1
    assert sorted(os.listdir(tmp_path)) == ["a.zip", "a.zip.json"]


def test_md5_where_only_that_is_published(server, tmp_path):
    server.pages["/a.zip"] = good(BODY)
    right = hashlib.md5(BODY).hexdigest()
    known = published(sha256=None, md5=right)
    assert get(server, tmp_path, "/a.zip", archive=known)[0].checked == "md5"
    (tmp_path / "a.zip").unlink()
    line = refuse(server, tmp_path, "/a.zip", archive=published(sha256=None, md5="0" * 32))
    assert f"its md5 is {right}, the published one {'0' * 32}" in line


def test_a_web_page_instead(server, tmp_path):
    server.pages["/a.zip"] = good(b"<!DOCTYPE html><title>Please sign in</title>")
    line = refuse(server, tmp_path, "/a.zip", archive=unpublished())
    assert "it did not send an archive, perhaps a web page" in line
    server.pages["/a.zip"] = good(b"")
    assert "did not send an archive" in refuse(server, tmp_path, "/a.zip", archive=unpublished())


def test_content_encoding_nobody_asked_for(server, tmp_path):
    page = lambda handler, _: answer(handler, BODY, Content_Encoding="gzip")  # noqa: E731
    server.pages["/a.zip"] = page
    assert "Content-Encoding gzip" in refuse(server, tmp_path, "/a.zip")
    # Some servers say so of a .tar.gz, and mean the file itself.
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w:gz"):
        pass
    body = raw.getvalue()
    server.pages["/a.tar.gz"] = lambda handler, _: answer(handler, body, Content_Encoding="gzip")
    known = Archive(file_name="a.tar.gz")
    assert get(server, tmp_path, "/a.tar.gz", archive=known)[0].path.read_bytes() == body


def test_slow_and_silent_servers(server, tmp_path):
    server.pages |= {"/slow": trickling(BODY, 0.05), "/silent": silent(2), "/good": good(BODY)}
    fetched, lines = get(server, tmp_path, "/slow", "/silent", "/good")
    assert fetched.origin.endswith("/good")
    assert any("sends less than 1024 bytes per second" in line for line in lines)
    assert any("does not respond for 0.5 s" in line for line in lines)


def test_disk_that_is_too_small(server, tmp_path):
    page = lambda handler, _: answer(handler, BODY, length=2**37)  # noqa: E731
    server.pages["/a.zip"] = page
    if shutil.disk_usage(tmp_path).free < 2**37:
        line = refuse(server, tmp_path, "/a.zip", archive=unpublished())
        assert f"{2**37:,} bytes are needed" in line
        assert "--to" in line
    answer_less = lambda handler, _: answer(handler, BODY, length=2**60)  # noqa: E731
    server.pages["/a.zip"] = answer_less
    assert "too much" in refuse(server, tmp_path, "/a.zip", archive=unpublished())


def test_disk_that_fills_up_keeps_what_has_arrived(server, tmp_path):
    resource = pytest.importorskip("resource")
    server.pages["/a.zip"] = good(NOISE)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, hard))
    try:
        line = refuse(server, tmp_path, "/a.zip", archive=published(NOISE))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert "The part that has arrived is kept" in line
    assert len(server.requests) == 1  # not asked again and again
    have = next(tmp_path.glob("*.part")).stat().st_size
    assert 0 < have <= 2**16
    fetched, _ = get(server, tmp_path, "/a.zip", archive=published(NOISE))
    assert server.requests[-1].range == f"bytes={have}-"
    assert fetched.path.read_bytes() == NOISE


@pytest.fixture(scope="module")
def self_signed(tmp_path_factory):
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl to make a certificate")
    folder = tmp_path_factory.mktemp("certificate")
    key, certificate = str(folder / "key.pem"), str(folder / "cert.pem")
    made = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "1",
        "-subj",
        "/CN=127.0.0.1",
    ]
    subprocess.run([*made, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


def test_certificate_that_is_not_valid(tmp_path, self_signed):
    """Fine where a published SHA-256 vouches for the content; else refused."""
    with serving(self_signed) as server:
        server.pages |= {"/a.zip": good(BODY), "/bad.zip": good(NOISE)}
        for weak in (unpublished(), published(sha256=None, md5=hashlib.md5(BODY).hexdigest())):
            line = refuse(server, tmp_path, "/a.zip", archive=weak)
            assert "its certificate is not valid (self" in line
        assert not server.requests
        assert "its sha256 is" in refuse(server, tmp_path, "/bad.zip", archive=published(size=None))
        fetched, lines = get(server, tmp_path, "/a.zip")
        assert fetched.path.read_bytes() == BODY
        assert "no valid certificate" in lines[0]


def test_never_from_https_back_to_http(tmp_path, self_signed, server):
    server.pages["/a.zip"] = good(BODY)
    with serving(self_signed) as safe:
        safe.pages["/a.zip"] = moved(f"{server.url}/a.zip")
        assert "which is not followed" in refuse(safe, tmp_path, "/a.zip")
    assert not server.requests
