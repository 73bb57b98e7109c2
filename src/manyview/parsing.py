"""JSON, TOML and YAML of files that may hold anything: values, or a ``ValueError`` that says in a few words why not."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_MOST_DIGITS = 300  # of a whole number, which then converts to floating point
_LONG_NUMBER = re.compile(rf"\d{{{_MOST_DIGITS + 1}}}")
_TOO_DEEP = "nested too deeply"
_TOO_LONG = f"a whole number of more than {_MOST_DIGITS} digits"
# A key of so many parts, for which tomllib takes memory that grows with the square of their number.
_LONG_KEY = re.compile(r"""(?m)(?:^|[\[{,])[ \t]*(?:(?:[\w-]+|"[^"\n]*"|'[^'\n]*')[ \t]*\.[ \t]*){32}""")
_MOST_TOML = 2**20  # characters
_DEEPEST = 200  # of brackets in YAML


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text.

    Floating-point numbers may be infinite or NaN, as Python's JSON has them.

    Raises:
        ValueError: it is not JSON, not UTF-8, is nested too deeply, or holds a whole number of more than 300 digits.
    """
    with _in_words():
        if isinstance(text, bytes):
            text = text.decode(json.detect_encoding(text), "surrogatepass")
        return json.loads(text, parse_int=_whole_number if _LONG_NUMBER.search(text) else None)


def parse_toml(text: str) -> dict[str, Any]:
    """The settings of a TOML text.

    Raises:
        ValueError: it is not TOML, is nested too deeply, or holds a whole number of more than 300 digits.
    """
    with _in_words():
        if len(text) > _MOST_TOML:
            raise ValueError("longer than any settings")
        if _LONG_KEY.search(text):
            raise ValueError(_TOO_DEEP)
        content = tomllib.loads(text)
        _check_numbers(content)
        return content


def parse_yaml(text: str) -> Any:
    """The value of a YAML text: strings, lists and dictionaries alone, so that a class named "no" keeps its name.

    Raises:
        ValueError: it is not YAML, or is nested too deeply.
    """
    import yaml  # type: ignore[import-untyped]

    if _depth_of_brackets(text) > _DEEPEST:  # PyYAML's time grows with the square of it
        raise ValueError(_TOO_DEEP)
    with _in_words():
        try:
            return yaml.load(text, Loader=yaml.BaseLoader)
        except (yaml.YAMLError, OverflowError) as error:  # the latter for an escape of no character
            raise ValueError(" ".join(str(error).split())) from error


@contextmanager
def _in_words() -> Iterator[None]:
    try:
        yield
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    except MemoryError:
        raise ValueError("more than fits into memory") from None
    except ValueError as error:
        if "integer string conversion" in str(error):  # Python's own limit
            raise ValueError(_TOO_LONG) from None
        raise


def _depth_of_brackets(text: str) -> int:
    depth = deepest = 0
    for bracket in re.findall(r"[][{}]", text):
        depth = depth + 1 if bracket in "[{" else max(depth - 1, 0)
        deepest = max(deepest, depth)
    return deepest


def _whole_number(digits: str) -> int:
    if len(digits) > _MOST_DIGITS + 1:  # and a sign
        raise ValueError(_TOO_LONG)
    return int(digits)


def _check_numbers(value: Any) -> None:
    if isinstance(value, dict | list):
        for entry in value.values() if isinstance(value, dict) else value:
            _check_numbers(entry)
    elif isinstance(value, int) and abs(value) >= 10**_MOST_DIGITS:
        raise ValueError(_TOO_LONG)
