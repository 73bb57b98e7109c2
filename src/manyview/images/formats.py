"""Which files of a folder are images, by their names or first bytes, and which folders hold other programs' copies."""

from __future__ import annotations

import importlib.util
import posixpath
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from PIL import features

from manyview.images.jpeg import JPEG
from manyview.images.png import PNG
from manyview.images.tiff import SIGNATURES as TIFF_SIGNATURES
from manyview.images.unreadable import UnreadableImage, readable
from manyview.images.webp import is_webp

EXTENSIONS: Final = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"}
)
ARRAY_EXTENSIONS: Final = frozenset({".npy"})
_DEEP_EXTENSIONS: Final = frozenset({".png", ".tif", ".tiff", ""})
AVIF_EXTENSIONS: Final = frozenset({".avif"})
HEIF_EXTENSIONS: Final = frozenset({".heic", ".heif"})
_ALL_EXTENSIONS: Final = EXTENSIONS | ARRAY_EXTENSIONS | AVIF_EXTENSIONS | HEIF_EXTENSIONS
HEIF_EXTRA: Final = "pip install 'manyview[heif]'"

# Thumbnails, bins, snapshots and archives' leftovers of Synology, QNAP, Windows, macOS, Linux and digiKam; version
# control that does not hide. Names with a leading dot are hidden anyway.
_OTHERS_FOLDERS: Final = frozenset(
    {
        "@eadir",
        "@tmp",
        "#recycle",
        "#snapshot",
        "@recycle",
        "@recently-snapshot",
        "$recycle.bin",
        "recycler",
        "recycled",
        "system volume information",
        "lost+found",
        "__macosx",
        "cvs",
        "_darcs",
    }
)
# What commonly stands beside images and is none: labels, lists, metadata, code, archives.
_COMPANIONS: Final = frozenset(
    f".{ending}"
    for ending in (
        *("txt", "csv", "tsv", "json", "jsonl", "geojson", "xml", "yaml", "yml", "toml", "md", "html", "htm", "pdf"),
        *("ini", "cfg", "db", "lnk", "url", "log", "xmp", "aae", "thm", "names", "data", "py", "ipynb", "sh", "pkl"),
        *("pt", "pth", "safetensors", "npz", "parquet", "xls", "xlsx", "zip", "tar", "gz", "tgz", "7z", "rar"),
        *("sha256", "md5", "part", "crdownload", "tmp", "bak", "cls"),
    )
)
_SIGNATURES: Final = (JPEG, PNG, b"GIF87a", b"GIF89a", b"BM", *TIFF_SIGNATURES)
_SIGNATURES_LENGTH: Final = 12
_NAMED = 4  # formats in a sentence


def extensions(*, arrays: bool) -> frozenset[str]:
    """Extensions, in lower case with their dot, of files that the installed decoders read.

    Args:
        arrays: whether NumPy arrays count too.
    """
    found = EXTENSIONS | ARRAY_EXTENSIONS if arrays else EXTENSIONS
    if features.check("avif"):
        found |= AVIF_EXTENSIONS
    if importlib.util.find_spec("pillow_heif") is not None:
        found |= HEIF_EXTENSIONS
    return found


def extension(name: str) -> str:
    """Extension of a file's name, in lower case with its dot; empty where there is none."""
    return posixpath.splitext(name)[1].lower()


def named_like_an_image(name: str) -> bool:
    """Whether a name has the extension of an image or array, also of a format whose decoder is not installed."""
    return extension(name) in _ALL_EXTENSIONS


def could_be_deep(name: str) -> bool:
    """Whether a file of this name can have 16 bits a sample and be read as RGB: a PNG, a TIFF, or of unknown format."""
    return extension(name) in _DEEP_EXTENSIONS or not named_like_an_image(name)


def holds_copies(folder: str) -> bool:
    """Whether a folder of this name belongs to a thumbnailer, a bin, a snapshot or version control."""
    return folder.lower() in _OTHERS_FOLDERS or folder.lower().endswith(".lrdata")


def starts_like_an_image(file: Path) -> bool:
    """Whether a file's first bytes are those of JPEG, PNG, WebP, BMP, TIFF or GIF; False where it cannot be read."""
    try:
        with readable(file), file.open("rb", buffering=0) as stream:  # a pipe would block
            head = stream.read(_SIGNATURES_LENGTH)
    except UnreadableImage:
        return False
    return starts_like(head)


def starts_like(head: bytes) -> bool:
    """Whether these are the first bytes of JPEG, PNG, WebP, BMP, TIFF or GIF; twelve are enough."""
    return head.startswith(_SIGNATURES) or is_webp(head)


def is_companion(ending: str) -> bool:
    """Whether files of this extension, in lower case with its dot, commonly stand beside images and are none."""
    return ending in _COMPANIONS


def describe_left_out(counts: Mapping[str, int]) -> str:
    """What was left out of a folder, in a sentence; empty if nothing was.

    Args:
        counts: number of files by extension, in lower case with its dot.
    """
    if not counts:
        return ""
    commonest = sorted(counts, key=lambda ending: (-counts[ending], ending))[:_NAMED]
    parts = [f"{counts[ending]:,} {ending}" for ending in commonest]
    more = ", ..." if len(counts) > _NAMED else ""
    total = sum(counts.values())
    files = "1 file" if total == 1 else f"{total:,} files"
    heif = f"; {HEIF_EXTRA} reads HEIC" if counts.keys() & HEIF_EXTENSIONS else ""
    avif = "; Pillow 11.3 or newer reads AVIF" if counts.keys() & AVIF_EXTENSIONS else ""
    return f"{files} of other formats left out ({', '.join(parts)}{more}){heif}{avif}."
