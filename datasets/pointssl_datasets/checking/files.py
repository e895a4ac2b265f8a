"""Checks of the other files in a dataset's folder. No file is opened and no link is followed."""

import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from pointssl_datasets.base.skipping import FILE_NAME
from pointssl_datasets.checking.findings import Findings
from pointssl_datasets.files.readers import SUFFIXES
from pointssl_datasets.layout.pairs import IMAGE_SUFFIXES

_FOREIGN = {
    "archives": ".zip .tar .gz .tgz .bz2 .xz .7z .rar .zst",
    "videos": ".mp4 .avi .mov .mkv .webm .m4v .wmv",
    "sound": ".mp3 .wav .flac .ogg",
    "documents": ".pdf .doc .docx .odt .ppt .pptx .xls .xlsx .html .htm .tex",
    "programs": ".exe .dll .so .dylib .msi .bat .cmd .sh .py .ipynb .jar .apk .js",
    "pickles and checkpoints (never loaded)": ".pkl .pickle .pt .pth .ckpt .joblib",
    "images in unsupported formats": ".gif .bmp .tif .tiff .tga .exr .hdr .svg .heic",
    "clouds or meshes in unsupported formats":
        ".e57 .fbx .dae .3ds .blend .gltf .wrl .step .stp .iges .dwg .max",
}  # fmt: skip
_KIND_OF = {suffix: kind for kind, suffixes in _FOREIGN.items() for suffix in suffixes.split()}
_LITTER = ("thumbs.db", ".ds_store", "desktop.ini", ".directory")
# Files that belong to the layouts of datasets, or accompany them.
_KNOWN = (
    ".h5", ".hdf5", ".json", ".csv", ".md", ".yaml", ".yml", ".tsv", ".lst", ".mtl", ".cfg", ".seg"
)  # fmt: skip
_KNOWN_NAMES = ("license", "readme", FILE_NAME)


def audit_files(root: Path, dataset: str, findings: Findings) -> None:
    """Walks ``root``, except for hidden and linked folders, and adds findings."""
    expected = {*SUFFIXES, *IMAGE_SUFFIXES, *_KNOWN}
    counts: Counter[str] = Counter()
    sizes: Counter[str] = Counter()

    def denied(error: OSError) -> None:
        findings.add("no-permission", "", _relative(error.filename, root), error.strerror or "")

    for folder, folders, files in os.walk(root, onerror=denied):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if not folders and not files:
            findings.add("empty-folder", "", _relative(folder, root))
        if dataset in ("folder", "shapenet-render"):
            _same_stem(folder, files, root, findings)
        for name in sorted(files):
            path = os.path.join(folder, name)
            kind = _audit_file(path, name, root, expected, findings)
            if kind == "archives" and not os.path.samefile(folder, root):
                findings.add("archive", "", _relative(path, root), _size(os.lstat(path).st_size))
            elif kind is not None:
                counts[kind] += 1
                sizes[kind] += os.lstat(path).st_size
    for kind, count in counts.most_common():
        findings.add("foreign", "", kind, f"{count}, {_size(sizes[kind])}", count=count)


def _audit_file(
    path: str, name: str, root: Path, expected: set[str], findings: Findings
) -> str | None:
    """Adds the problems of one file; returns its kind if it is foreign to the dataset."""
    suffix = os.path.splitext(name)[1].lower()
    if os.path.islink(path) and not os.path.exists(path):
        findings.add("broken-link", "", _relative(path, root), f"leads to {os.readlink(path)}")
        return None
    if not os.access(path, os.R_OK):
        findings.add("no-permission", "", _relative(path, root))
        return None
    if name.lower() in _LITTER or name.startswith("._"):
        return "litter of the operating system"
    if suffix not in SUFFIXES and os.lstat(path).st_size == 0:  # readers report empty clouds
        findings.add("zero-bytes", "", _relative(path, root))
    if suffix in expected or os.path.splitext(name)[0].lower() in _KNOWN_NAMES:
        return None
    return _KIND_OF.get(suffix, f"others ({suffix or 'no suffix'})")


def _same_stem(folder: str, files: Iterable[str], root: Path, findings: Findings) -> None:
    """Adds a finding for clouds in one folder whose names differ only in the suffix."""
    first: dict[str, str] = {}
    for name in sorted(files):
        stem, suffix = os.path.splitext(name)
        if suffix.lower() in SUFFIXES and first.setdefault(stem, name) != name:
            where = _relative(os.path.join(folder, name), root)
            findings.add("same-stem", "", where, f"and {first[stem]}")


def _relative(path: str | bytes | None, root: Path) -> str:
    return os.path.relpath(os.fsdecode(path or ""), root)


def _size(count: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
