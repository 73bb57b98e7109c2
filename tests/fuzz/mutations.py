"""Mutations of files: bytes, numbers in headers, checksums that are made right again, and what text files may hold."""

from __future__ import annotations

import json
import re
import struct
import zlib
from collections.abc import Callable, Sequence

import numpy as np

Rng = np.random.Generator
Mutation = Callable[[bytes, Rng], bytes]

LARGEST = 2**20  # bytes of a mutated file
_HEADER = 256  # bytes in which half of the mutations fall
_INTEGERS = (0, 1, -1, 2, 3, 7, 8, 16, 255, 256, 32767, 32768, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1, 2**63)


def _place(data: bytes, rng: Rng) -> int:
    end = min(len(data), _HEADER) if rng.random() < 0.5 else len(data)
    return int(rng.integers(0, max(end, 1)))


def _range(data: bytes, rng: Rng) -> tuple[int, int]:
    start = _place(data, rng)
    return start, min(len(data), start + int(rng.choice([1, 2, 4, 16, 64, 512, 4096])))


def _flip_bit(data: bytes, rng: Rng) -> bytes:
    at = _place(data, rng)
    return data[:at] + bytes(byte ^ 1 << int(rng.integers(8)) for byte in data[at : at + 1]) + data[at + 1 :]


def _replace_byte(data: bytes, rng: Rng) -> bytes:
    at = _place(data, rng)
    return data[:at] + rng.bytes(1) + data[at + 1 :]


def _delete(data: bytes, rng: Rng) -> bytes:
    start, end = _range(data, rng)
    return data[:start] + data[end:]


def _repeat(data: bytes, rng: Rng) -> bytes:
    start, end = _range(data, rng)
    return data[:start] + data[start:end] * int(rng.choice([2, 3, 50])) + data[end:]


def _truncate(data: bytes, rng: Rng) -> bytes:
    return data[: _place(data, rng)]


def _zero(data: bytes, rng: Rng) -> bytes:
    start, end = _range(data, rng)
    return data[:start] + bytes(end - start) + data[end:]


def _randomize(data: bytes, rng: Rng) -> bytes:
    start, end = _range(data, rng)
    return data[:start] + rng.bytes(end - start) + data[end:]


def _swap(data: bytes, rng: Rng) -> bytes:
    (a, b), (c, d) = sorted([_range(data, rng), _range(data, rng)])
    if b > c:
        return data
    return data[:a] + data[c:d] + data[b:c] + data[a:b] + data[d:]


def _set_integer(data: bytes, rng: Rng) -> bytes:
    size = int(rng.choice([1, 2, 4, 8]))
    at = _place(data, rng) // size * size + int(rng.choice([0, 0, 0, 1, 2]))
    value = int(rng.choice(np.array(_INTEGERS, dtype=object))) % 256**size
    return data[:at] + value.to_bytes(size, str(rng.choice(["little", "big"]))) + data[at + size :]


def _append(data: bytes, rng: Rng) -> bytes:
    return data + (rng.bytes(100) if rng.random() < 0.5 else bytes(1000))


BYTES: tuple[Mutation, ...] = (
    *(_flip_bit, _replace_byte, _delete, _repeat, _truncate, _zero, _randomize, _swap),
    *(_set_integer, _set_integer, _set_integer, _append),
)


def spliced(data: bytes, other: bytes, rng: Rng) -> bytes:
    """The beginning of one file and the end of another."""
    return data[: _place(data, rng)] + other[_place(other, rng) :]


def with_right_checksums(data: bytes) -> bytes:
    """A PNG whose chunks have right checksums, so that damage reaches its reader; other files as they are."""
    if not data.startswith(b"\x89PNG\r\n\x1a\n"):
        return data
    parts, start = [data[:8]], 8
    while start + 12 <= len(data):
        size = min(struct.unpack(">I", data[start : start + 4])[0], len(data) - start - 12)
        body = data[start + 4 : start + 8 + size]
        parts.append(struct.pack(">I", size) + body + struct.pack(">I", zlib.crc32(body)))
        start += 12 + size
    return b"".join(parts)


def mutate_bytes(data: bytes, others: Sequence[bytes], rng: Rng) -> bytes:
    """One to four mutations of an image file."""
    for _ in range(int(rng.choice([1, 1, 1, 2, 3, 4]))):
        if rng.random() < 0.05:
            data = spliced(data, others[int(rng.integers(len(others)))], rng)
        else:
            data = BYTES[int(rng.integers(len(BYTES)))](data, rng)[:LARGEST]
    return with_right_checksums(data) if rng.random() < 0.7 else data


# Text files.

_ODD = (
    *("", " ", "0", "-0", "1", "-1", "0.0", "1e0", "1e400", "-1e400", "1e-400", "nan", "NaN", "inf", "Infinity"),
    *("9" * 30, "9" * 5000, "2147483648", "1e9", "0x10", "1_000", "1,5", "١٢", "½", "null", "None", "true", "[]", "{}"),
    *('""', "''", '"', "'", "|", ",", ";", "\t", "\\", "\n", "\r", "\r\n", "\0", "\v", "\x1b[31m", "\u2028", "\ufeff"),
    *("..", "../..", "../../etc/passwd", "/", "/etc/passwd", "C:\\a.jpg", "a.jpg", "é.png", "e\u0301.png", "\ud800"),
    *("a" * 300, "a/" * 3000, "<", ">", "&", "&amp;", "&x;", "<!--", "]]>", "<?xml version='1.0'?>", "#", "!!", "%s"),
    *(
        "{",
        "[",
        "*a",
        "&a",
        "!!python/object/apply:os.abort []",
        "- ",
        ": ",
        "? ",
        "---",
        "...",
        "=1+1",
        "labels",
        "id",
    ),
)
_NODES = (
    *(None, True, False, 0, -1, 1, 1.5, -0.0, 1e308, 10**30, 10**400, float("nan"), float("inf"), -float("inf")),
    *("", "0", "1", "a.jpg", "\ud800", "x" * 300, [], {}, [[]], [{}], [1, 2, 3, 4], [0.1, 0.2, 0.3, 0.4]),
    *({"size": [1, 1], "counts": [1]}, {"size": [2, 2], "counts": "0"}, {"id": 1}, [[1, 2, 3, 4, 5, 6]]),
    *([[1e9, 2, 3, 4, 5, 6]], ["a", "b"], {"size": [10**9, 10**9], "counts": [10**18]}, {"size": None, "counts": None}),
)
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_WORD = re.compile(r"[^\s,;|<>\"{}\[\]:=]+")
_BOMB = "".join(f'<!ENTITY x{i + 1} "{f"&x{i};" * 10}">' for i in range(9))
_WHOLE = (
    "",
    "\ufeff",
    "[" * 100_000,
    '{"a":' * 100_000,
    "[" * 900 + "]" * 900,
    "<a>" * 50_000,
    "<annotation>" + "<object>" * 30_000,
    f'<?xml version="1.0"?><!DOCTYPE annotation [<!ENTITY x0 "x">{_BOMB}]>'
    "<annotation><object><name>&x9;</name></object></annotation>",
    '<!DOCTYPE annotation [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotation><object><name>&x;</name></object>'
    "</annotation>",
    "a0: &a0 [x, x]\n"
    + "".join(f"a{i + 1}: &a{i + 1} [{', '.join([f'*a{i}'] * 9)}]\n" for i in range(9))
    + "names: *a9",
    "names: " + "[" * 3000,
    "names: &a [*a]",
    "names: {? [a] : b}",
    "x" * 500_000,
    "image,labels\n" + '"' * 200_001,
    "image,labels\n" + "a.jpg," + "a|" * 100_000,
    "image,labels\na.jpg,['" + "a', '" * 30_000 + "']",
    "\n" * 100_000,
    "0 0.5 0.5 0.1 0.1 " * 20_000,
)
_ENCODINGS = ("utf-16", "utf-16-le", "utf-32", "latin-1", "cp1252", "utf-8-sig", "utf-7", "cp037")


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass" if not re.search("[\udc80-\udcff]", text) else "surrogateescape")


def _odd(rng: Rng) -> str:
    return _ODD[int(rng.integers(len(_ODD)))]


def _replace_match(pattern: re.Pattern[str]) -> Mutation:
    def replace(data: bytes, rng: Rng) -> bytes:
        text = _text(data)
        found = list(pattern.finditer(text))
        if not found:
            return data
        one = found[int(rng.integers(len(found)))]
        return _safe(text[: one.start()] + _odd(rng) + text[one.end() :], data)

    return replace


def _safe(text: str, otherwise: bytes) -> bytes:
    try:
        return _bytes(text)
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace") or otherwise


def _insert(data: bytes, rng: Rng) -> bytes:
    text = _text(data)
    at = int(rng.integers(len(text) + 1))
    return _safe(text[:at] + _odd(rng) + text[at:], data)


def _lines(data: bytes, rng: Rng) -> bytes:
    """Delete, repeat, or exchange lines."""
    lines = data.splitlines(keepends=True)
    if not lines:
        return data
    first, second = (int(each) for each in rng.integers(len(lines), size=2))
    how = int(rng.integers(4))
    if how == 0:
        del lines[first]
    elif how == 1:
        lines[first] *= min(int(rng.choice([2, 100, 20_000])), LARGEST // len(lines[first]) + 1)
    elif how == 2:
        lines[first], lines[second] = lines[second], lines[first]
    else:
        lines[first] = lines[first].rstrip(b"\r\n")
    return b"".join(lines)


def _encode(data: bytes, rng: Rng) -> bytes:
    return _text(data).encode(str(rng.choice(_ENCODINGS)), "replace")


def _whole(data: bytes, rng: Rng) -> bytes:
    return _WHOLE[int(rng.integers(len(_WHOLE)))].encode()


def _json_node(data: bytes, rng: Rng) -> bytes:
    """Replace, remove or double a value of a JSON file; or a member's name."""
    try:
        root = json.loads(data)
    except (ValueError, RecursionError):
        return data
    places = [place for place in _places(root) if place]
    if not places:
        return data
    holder, key = places[int(rng.integers(len(places)))]
    how = rng.random()
    if how < 0.7:
        holder[key] = _NODES[int(rng.integers(len(_NODES)))]
    elif how < 0.85:
        del holder[key]
    elif isinstance(holder, list):
        holder.append(holder[key])
    else:
        holder[_odd(rng)] = holder.pop(key)
    return _dumped(root, data)


def _dumped(root: object, otherwise: bytes) -> bytes:
    try:
        return json.dumps(root).encode()
    except ValueError:  # a number of more digits than Python writes
        return otherwise


def _places(node: object) -> list[tuple[dict | list, object]]:
    found: list[tuple[dict | list, object]] = []
    members = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in members:
        found += [(node, key), *_places(value)]  # type: ignore[list-item]
    return found


TEXT: tuple[Mutation, ...] = (
    *(_replace_match(_NUMBER), _replace_match(_NUMBER), _replace_match(_WORD), _replace_match(_WORD), _insert, _insert),
    *(_lines, _json_node, _json_node, _json_node, _encode, _whole),
)


def mutate_text(data: bytes, others: Sequence[bytes], rng: Rng) -> bytes:
    """One to four mutations of a text file."""
    for _ in range(int(rng.choice([1, 1, 1, 2, 3, 4]))):
        chance = rng.random()
        if chance < 0.05:
            data = spliced(data, others[int(rng.integers(len(others)))], rng)
        elif chance < 0.25:
            data = BYTES[int(rng.integers(len(BYTES)))](data, rng)
        else:
            data = TEXT[int(rng.integers(len(TEXT)))](data, rng)
        data = data[:LARGEST]
    return data
