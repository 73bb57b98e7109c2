"""Tar archives of images, such as WebDataset's shards, each image read by its position."""

from __future__ import annotations

import os
import posixpath
import tarfile

from manyview.images.formats import extension, is_companion, named_like_an_image, starts_like
from manyview.images.name_forms import leads_outside
from manyview.images.sources.shards import Members, ShardFormat, ShardReader, why
from manyview.images.sources.stores import RandomFile, Shard, open_file
from manyview.images.unreadable import UnreadableImage

_HEAD = 12  # bytes that tell an image from other files


class TarFormat(ShardFormat):
    """Uncompressed tar archives; of members of the same name, the last counts, as it would when they are unpacked."""

    title, ending = "tar", ".tar"

    def members(self, shard: Shard) -> Members:
        """The images of an archive, by its headers alone."""
        found = Members()
        try:
            file = open_file(shard.where)
            with file.stream() as stream, tarfile.open(fileobj=stream, mode="r:") as archive:
                self._read(archive, file, shard, found)
        except (OSError, tarfile.TarError, ValueError, EOFError) as error:
            found.problem = _problem(error, len(found.names), shard)
        return found

    def open(self, shard: Shard) -> ShardReader:
        """Open an archive."""
        return _TarReader(open_file(shard.where))

    def _read(self, archive: tarfile.TarFile, file: RandomFile, shard: Shard, found: Members) -> None:
        places: dict[str, tuple[int, int]] = {}
        links: dict[str, str] = {}
        try:
            while (member := archive.next()) is not None:
                archive.members = []  # type: ignore[attr-defined]  # else it keeps all that it has read
                name = posixpath.normpath(member.name)
                if member.islnk() or member.issym():
                    base = posixpath.dirname(name) if member.issym() else ""
                    links[name] = posixpath.normpath(posixpath.join(base, member.linkname))
                elif member.isreg() and not member.issparse():
                    if member.offset_data + member.size > shard.size:
                        raise tarfile.ReadError("unexpected end of data")
                    places.pop(name, None)  # in the order of those that count
                    places[name] = member.offset_data, member.size
        finally:
            for name, target in links.items():
                if target in places:
                    places[name] = places[target]
            for name, place in places.items():
                if not _hidden(name) and not leads_outside(name):
                    self._add(name, place, file, found)

    def _add(self, name: str, place: tuple[int, int], file: RandomFile, found: Members) -> None:
        """Add a member if it is an image."""
        ending, (start, length) = extension(name), place
        if named_like_an_image(name) or (not ending and starts_like(file.read(start, min(length, _HEAD)))):
            found.add(os.fsencode(name), start, length)
        elif ending and not is_companion(ending):
            found.others[ending] += 1


class _TarReader(ShardReader):
    def __init__(self, file: RandomFile) -> None:
        self._file = file

    def read(self, start: int, length: int) -> bytes:
        data = self._file.read(start, length)
        if len(data) < length:
            raise UnreadableImage("truncated file")
        return data


def _hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/"))


def _problem(error: Exception, found: int, shard: Shard) -> str:
    if found and isinstance(error, tarfile.TarError):
        return f"cut or damaged after its {found:,}. image ({error})"
    if isinstance(error, tarfile.TarError):
        return "empty file" if shard.size == 0 else f"no tar archive that is not compressed ({error})"
    return why(error)


FORMAT = TarFormat()
