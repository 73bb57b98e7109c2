"""The rule for outputs: a command neither replaces nor deletes a file that it did not write.

Results refuse names that exist (``files.claim_folder``, ``files.claim_files``), and runs refuse folders that are not
empty. What is made to be drawn again, such as a picture of views, carries the name of its command and is replaced only
where it does (``require_own``). Within folders that a command returns to, it deletes the files that it names itself
(``checkpoints.CheckpointStore``, ``evaluation.resume``) and never a whole folder.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Collection
from pathlib import Path

from manyview.errors import UserError, first_few

_PNG = b"\x89PNG\r\n\x1a\n"
_AFTER_HEADER = len(_PNG) + 25  # the first chunk, IHDR, has 13 bytes of data
_KEYWORD = b"manyview"
_HEAD = 4096  # bytes in which a mark is looked for


def marked_png(data: bytes, command: str) -> bytes:
    """A PNG file with the name of the command that drew it, as a text chunk after the header."""
    assert data.startswith(_PNG)
    return data[:_AFTER_HEADER] + _text_chunk(command) + data[_AFTER_HEADER:]


def html_mark(command: str) -> str:
    """An element for the head of an HTML page, with the name of the command that wrote it."""
    return f'<meta name="generator" content="manyview {command}">'


def is_own(file: Path, command: str) -> bool:
    """Whether a picture or page carries the mark of a command."""
    try:
        with file.open("rb") as stream:
            head = stream.read(_HEAD)
    except OSError:
        return False
    return _text_chunk(command) in head if head.startswith(_PNG) else html_mark(command).encode() in head


def require_own(command: str, files: Collection[Path], others: Collection[Path] = ()) -> None:
    """Refuse to replace files that a command did not write.

    Args:
        command: name of the command, as in its marks.
        files: pictures and pages that are to be written.
        others: further files that are to be written, and that are known not to be the command's if they exist.

    Raises:
        UserError: one of them exists and has another origin.
    """
    strangers = [file for file in files if os.path.lexists(file) and not is_own(file, command)]
    strangers += [file for file in others if os.path.lexists(file)]
    if strangers:
        verb = "exists and was" if len(strangers) == 1 else "exist and were"
        raise UserError(
            f"{first_few(list(map(str, strangers)))} {verb} not written by manyview {command}, which would replace "
            "what is not its own: choose another --out, or move it away"
        )


def _text_chunk(command: str) -> bytes:
    body = b"tEXt" + _KEYWORD + b"\0" + command.encode("latin-1")
    return (len(body) - 4).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")
