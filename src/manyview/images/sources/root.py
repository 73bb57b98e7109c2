"""What a user names as the folder of images: a folder, or shards by path, pattern or address."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from pathlib import Path

from manyview.errors import UserError, first_few
from manyview.images.formats import named_like_an_image
from manyview.images.sources import arrow, parquet, tar
from manyview.images.sources.collection import Collection, Member
from manyview.images.sources.shard_index import collect
from manyview.images.sources.shards import ShardFormat
from manyview.images.sources.stores import absolute, expand, find_shards, is_address, list_remote, normal

FORMATS: tuple[ShardFormat, ...] = (tar.FORMAT, parquet.FORMAT, arrow.FORMAT)

ImageRoot = Path | Collection
"""A folder of images, or shards: ``root / name`` is an image that can be read."""

ImagePath = Path | Member
"""An image in a folder or in shards."""

_COMPRESSED = (".tar.gz", ".tgz", ".tar.zst", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.lz4")


def image_root(where: str | os.PathLike[str] | Collection) -> ImageRoot:
    """The folder, or the collection of shards, that a user names.

    Shards are a ``.tar``, ``.parquet`` or ``.arrow`` file; a pattern of such files, with wildcards, or with braces that
    count or choose (``shards/{000..099}.tar``); a folder with such files and neither images nor folders in it; or
    any of these behind an address that fsspec reads, such as ``s3://bucket/shards/{000..099}.tar``. Where their images
    are is found out once and kept in the user's cache (``sources.kept``).

    Args:
        where: path, pattern or address.

    Raises:
        UserError: the shards are compressed, of several formats or all missing or damaged; or their store cannot be
            reached.
    """
    if isinstance(where, Collection):
        return where
    text = normal(where)
    patterns = _patterns(text)
    if not patterns:
        return Path(text)
    form = _form(patterns, text)
    shards = [shard for pattern in patterns for shard in find_shards(pattern)]
    if not shards:
        raise UserError(f"there is no file {text}: check the pattern")
    return collect(text, form, tuple(shards))


def is_there(where: str | os.PathLike[str]) -> bool:
    """Whether a folder exists, or what is named stands for shards, which are looked for later."""
    text = normal(where)
    return is_address(text) or os.path.isdir(text) or bool(_patterns(text))  # noqa: PTH112


def absolute_root(where: str | os.PathLike[str]) -> str:
    """The absolute path of a folder or of shards, or the address of shards."""
    return absolute(normal(where))


def _patterns(text: str) -> list[str]:
    """Paths, patterns or addresses of shards; none for a folder of images."""
    if is_address(text):
        if _ending(text) or _is_compressed(text):
            return [text]
        found = _chosen([each for each in list_remote(text) if _ending(each)])
        if not found:
            raise UserError(f"there are no shards in {text}: name files that end in {_endings()}")
        return found
    if os.path.isdir(text):  # noqa: PTH112
        return _shards_in(text)
    named = bool(_ending(text)) or _is_compressed(text)
    return [text] if named and (os.path.isfile(text) or glob.has_magic(text) or "{" in text) else []  # noqa: PTH113


def _shards_in(folder: str) -> list[str]:
    """The shards of a folder; none if it holds images or folders, too."""
    names = []
    try:
        with os.scandir(folder) as listing:
            for entry in listing:
                if entry.name.startswith("."):
                    continue
                if named_like_an_image(entry.name) or entry.is_dir():
                    return []  # at once, as there may be millions
                if _ending(entry.name):
                    names.append(os.path.join(folder, entry.name))  # noqa: PTH118
    except OSError:  # reported by whoever searches the folder
        return []
    return _chosen(sorted(names, key=os.fsencode))


def _chosen(names: list[str]) -> list[str]:
    """Those of a folder's shards that hold images."""
    return [name for form in FORMATS for name in form.choose([each for each in names if _ending(each) == form.ending])]


def _form(patterns: Sequence[str], where: str) -> ShardFormat:
    if any(map(_is_compressed, patterns)):
        raise UserError(f"{where} names compressed archives, of which no image can be read by itself: decompress them")
    endings = {_ending(each) for pattern in patterns for each in expand(pattern)}
    if len(endings) > 1:
        raise UserError(
            f"{where} stands for shards of several formats ({first_few(sorted(endings))}): name those of one"
        )
    return next(form for form in FORMATS if form.ending in endings)


def _ending(name: str) -> str:
    """The extension of a shard, in lower case; empty for any other file."""
    return next((form.ending for form in FORMATS if name.lower().endswith(form.ending)), "")


def _is_compressed(name: str) -> bool:
    return name.lower().endswith(_COMPRESSED)


def _endings() -> str:
    return ", ".join(form.ending for form in FORMATS)
