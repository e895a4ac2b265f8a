"""Archives that mean harm, are damaged, or are just odd."""

import bz2
import errno
import gzip
import io
import lzma
import os
import signal
import stat
import tarfile
import zipfile

import pytest

from pointssl_datasets.base.errors import DataError, UserError
from pointssl_datasets.downloading import unpack as module
from pointssl_datasets.downloading.archives import archive_format
from pointssl_datasets.downloading.unpack import unpack

FILES = {"top/a.txt": b"alpha" * 100, "top/sub/b.bin": bytes(range(256)) * 40, "top/c": b""}


def zipped(path, files, **change):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            for key, value in change.items():
                setattr(info, key, value)
            archive.writestr(info, content)
    return path


def tarred(path, files, mode="w", extra=()):
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), 0o4777
            archive.addfile(info, io.BytesIO(content))
        for info in extra:
            archive.addfile(info)
    return path


def special(name, kind, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def content(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def refused(archive, tmp_path, error=DataError, **limits):
    """The one line; and nothing may be left anywhere."""
    before = set(tmp_path.rglob("*"))
    outside = set(os.listdir(tmp_path.parent))
    with pytest.raises(error) as caught:
        unpack(archive, tmp_path / "out", **limits)
    assert set(tmp_path.rglob("*")) == before
    assert set(os.listdir(tmp_path.parent)) == outside
    line = str(caught.value)
    assert "\n" not in line
    assert archive.name in line or error is UserError
    return line


@pytest.mark.parametrize("form", ["zip", "tar", "tar.gz", "tar.bz2", "tar.xz"])
def test_every_kind_by_content_whatever_its_name(tmp_path, form):
    archive = tmp_path / "download?id=7"
    if form == "zip":
        zipped(archive, FILES)
    else:
        tarred(archive, FILES, "w:" + form.partition(".")[2])
    folder = unpack(archive, tmp_path / "deep" / "out")
    assert folder == tmp_path / "deep" / "out"
    assert content(folder) == FILES
    assert not any(path.stat().st_mode & (stat.S_ISUID | 0o111) for path in folder.rglob("*.*"))
    assert os.listdir(tmp_path / "deep") == ["out"]


def test_empty_zip_and_empty_folders(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("only/", "")
    assert os.listdir(unpack(tmp_path / "a.zip", tmp_path / "out")) == ["only"]


BAD_NAMES = [
    "../evil", "a/../../evil", "/etc/evil", "C:\\evil", "c:evil", "\\evil", "..\\evil",
    "a\\..\\..\\evil", "//server/share", "a/" * 40 + "deep", "new\nline",
]  # fmt: skip


@pytest.mark.parametrize("name", BAD_NAMES)
@pytest.mark.parametrize("make", [zipped, tarred])
def test_no_name_leads_out(tmp_path, make, name):
    archive = make(tmp_path / "a", {"fine": b"1", name: b"evil"})
    line = refused(archive, tmp_path)
    assert "leads out of the folder" in line or "not a valid path" in line


LINKS = [
    special("link", tarfile.SYMTYPE, "/etc/passwd"),
    special("link", tarfile.SYMTYPE, "../../secret"),
    special("top/link", tarfile.SYMTYPE, "../../secret"),
    special("link", tarfile.SYMTYPE, "C:\\secret"),
    special("link", tarfile.LNKTYPE, "/etc/passwd"),
    special("link", tarfile.LNKTYPE, "../secret"),
    special("link", tarfile.SYMTYPE, "top"),  # to a folder: later members could go through it
    special("link", tarfile.SYMTYPE, "link"),
    special("link", tarfile.SYMTYPE, "absent"),
    special("node", tarfile.CHRTYPE),
    special("node", tarfile.BLKTYPE),
    special("node", tarfile.FIFOTYPE),
]


@pytest.mark.parametrize("info", LINKS, ids=lambda i: f"{i.type!r}-{i.linkname}")
def test_no_link_leads_out_and_no_device_is_made(tmp_path, info):
    (tmp_path / "secret").write_text("mine")
    line = refused(tarred(tmp_path / "a.tar", FILES, extra=[info]), tmp_path)
    assert info.name in line


def test_write_through_a_link(tmp_path):
    """A link to a folder outside, then a file in it: the classic."""
    (tmp_path / "outside").mkdir()
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.addfile(special("door", tarfile.SYMTYPE, str(tmp_path / "outside")))
        info = tarfile.TarInfo("door/evil")
        info.size = 4
        archive.addfile(info, io.BytesIO(b"evil"))
    assert "leads out" in refused(tmp_path / "a.tar", tmp_path)
    assert not list((tmp_path / "outside").iterdir())


def test_links_within_become_the_files_themselves(tmp_path):
    links = [
        special("top/sub/soft", tarfile.SYMTYPE, "../a.txt"),
        special("hard", tarfile.LNKTYPE, "top/a.txt"),
    ]
    folder = unpack(tarred(tmp_path / "a.tar", FILES, extra=links), tmp_path / "out")
    for name in ("top/sub/soft", "hard"):
        assert (folder / name).read_bytes() == FILES["top/a.txt"]
        assert not (folder / name).is_symlink()


def test_symlink_in_a_zip(tmp_path):
    mode = (stat.S_IFLNK | 0o777) << 16
    out = zipped(tmp_path / "a.zip", {"link": b"/etc/passwd"}, external_attr=mode)
    assert "leads out" in refused(out, tmp_path)
    out = zipped(tmp_path / "b.zip", {"node": b""}, external_attr=(stat.S_IFCHR | 0o777) << 16)
    assert "no file, folder or link" in refused(out, tmp_path)


@pytest.mark.parametrize("make", [zipped, lambda p, f: tarred(p, f, "w:gz")])
def test_bomb_by_ratio_and_by_bytes(tmp_path, monkeypatch, make):
    monkeypatch.setattr(module, "SMALL", 2**20)
    archive = make(tmp_path / "bomb", {"zeros": bytes(2**24)})
    assert "bomb" in refused(archive, tmp_path)
    archive = make(tmp_path / "large", {"noise": os.urandom(2**18)})
    assert "more than 1,000 bytes" in refused(archive, tmp_path, limit_bytes=1000)
    assert unpack(archive, tmp_path / "fine").is_dir()


@pytest.mark.parametrize("make", [zipped, tarred])
def test_too_many_members(tmp_path, make):
    archive = make(tmp_path / "many", {f"{i}": b"" for i in range(50)})
    assert "more than 49 members" in refused(archive, tmp_path, limit_files=49)
    assert len(os.listdir(unpack(archive, tmp_path / "out", limit_files=50))) == 50


def test_a_header_that_promises_gigabytes_is_not_believed(tmp_path):
    """A long name of 4 GiB of zeros, in 4 MB: it must not be read into memory."""
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 2**32
    with gzip.open(tmp_path / "a.tar.gz", "wb", compresslevel=1) as file:
        file.write(info.tobuf())
        for _ in range(64):
            file.write(bytes(2**20))
    assert "absurd size" in refused(tmp_path / "a.tar.gz", tmp_path)


def test_headers_of_headers_without_end(tmp_path):
    info = special("pax", tarfile.XHDTYPE)
    (tmp_path / "a.tar").write_bytes(info.tobuf() * 20_000)
    assert "truncated or damaged" in refused(tmp_path / "a.tar", tmp_path)


@pytest.mark.parametrize("form", ["zip", "", "gz", "bz2", "xz"])
def test_truncated_wherever_it_is_cut(tmp_path, form):
    whole = tmp_path / "whole"
    noise = {f"top/{i}.bin": os.urandom(3000) for i in range(4)}
    zipped(whole, noise) if form == "zip" else tarred(whole, noise, f"w:{form}")
    raw = whole.read_bytes()
    end = len(raw) if form else 4 * (512 + 3072)  # a plain tar is padded with much nothing
    cuts = [600, 1024, 3584, end // 2, end - 40] + ([] if form else [2 * (512 + 3072), end])
    for cut in cuts:
        (tmp_path / "cut").write_bytes(raw[:cut])
        assert "truncated or damaged" in refused(tmp_path / "cut", tmp_path)


def test_more_after_the_end_of_a_tar(tmp_path, monkeypatch):
    with gzip.open(tmp_path / "a", "wb") as file:
        tarred(tmp_path / "plain", FILES)
        file.write((tmp_path / "plain").read_bytes() + bytes(2**20))
    assert content(unpack(tmp_path / "a", tmp_path / "fine")) == FILES  # padding
    monkeypatch.setattr("pointssl_datasets.downloading.archives._MAX_PADDING", 2**16)
    assert "continues after its end" in refused(tmp_path / "a", tmp_path)


def test_damaged_in_the_middle(tmp_path):
    noise = {f"{i}": os.urandom(3000) for i in range(4)}
    for name in ("a.zip", "a.tar", "a.tar.gz"):
        path = tmp_path / name
        zipped(path, noise) if name == "a.zip" else tarred(path, noise, f"w:{name[6:]}")
        raw = bytearray(path.read_bytes())
        where = 512 + 3072 if name == "a.tar" else len(raw) // 2  # a tar knows but its headers
        raw[where : where + 100] = bytes(255 - byte for byte in raw[where : where + 100])
        path.write_bytes(raw)
        assert "truncated or damaged" in refused(path, tmp_path)


def test_encrypted_zip(tmp_path):
    archive = zipped(tmp_path / "a.zip", {"secret": b"x" * 50})
    raw = bytearray(archive.read_bytes())
    raw[6] |= 1  # the flag, in the member's header and in the directory
    raw[raw.index(b"PK\x01\x02") + 8] |= 1
    archive.write_bytes(raw)
    assert "is encrypted" in refused(archive, tmp_path)


@pytest.mark.parametrize(
    "raw", [b"", b"<!DOCTYPE html><title>Sign in</title>", b"\x00" * 2000, os.urandom(700)]
)
def test_no_archive_at_all(tmp_path, raw):
    (tmp_path / "page.zip").write_bytes(raw)
    assert archive_format(tmp_path / "page.zip") is None
    assert "neither zip nor tar" in refused(tmp_path / "page.zip", tmp_path)


@pytest.mark.parametrize("pack", [gzip, bz2, lzma])
def test_packed_but_no_tar_inside(tmp_path, pack):
    (tmp_path / "x").write_bytes(pack.compress(b"just text"))
    assert "contains no tar" in refused(tmp_path / "x", tmp_path)


def test_junk_and_names_that_differ_by_case(tmp_path):
    odd = {
        "top/a.txt": b"first", "top/A.TXT": b"second", "__MACOSX/top/._a.txt": b"junk",
        "top/.DS_Store": b"junk", "top/._b": b"junk", "./top//b": b"kept",
    }  # fmt: skip
    folder = unpack(zipped(tmp_path / "a.zip", odd), tmp_path / "out")
    assert content(folder) == {"top/a.txt": b"first", "top/b": b"kept"}


def test_a_file_where_a_folder_is_needed(tmp_path):
    archive = zipped(tmp_path / "a.zip", {"a": b"file", "a/b": b"below it"})
    assert "cannot be unpacked" in refused(archive, tmp_path, UserError)


def test_what_exists_is_not_overwritten(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("mine")
    archive = zipped(tmp_path / "a.zip", FILES)
    assert "exists already" in refused(archive, tmp_path, UserError)
    assert (tmp_path / "out" / "mine").read_text() == "mine"


def test_missing_archive(tmp_path):
    line = refused(tmp_path / "absent.zip", tmp_path, UserError)
    assert "No such file" in line


def test_full_disk(tmp_path):
    """A real one of 64 KiB where the machine lets us have it."""
    resource = pytest.importorskip("resource")
    archive = zipped(tmp_path / "a.zip", {"noise": os.urandom(2**18)})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, hard))
    try:
        line = refused(archive, tmp_path, UserError)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert os.strerror(errno.EFBIG) in line
