"""Texts that files may hold: values, or one sentence; nothing takes gigabytes or ends in another exception."""

from __future__ import annotations

import json
import math
import tomllib
from pathlib import Path

import pytest
import torch

from manyview.detection.checkpoint import load_detector
from manyview.errors import UserError
from manyview.evaluation.compare.read import read as read_evaluation
from manyview.parsing import parse_json, parse_toml, parse_yaml
from manyview.recipes.launch import read_config_file, resolve_settings
from manyview.runs import RunFolder
from manyview.runs.files import write_tensors

N = 100_000
DEEP = "nested too deeply"
JSON = {
    "deep list": ("[" * N, DEEP),
    "deep closed list": ("[" * N + "]" * N, DEEP),
    "deep table": ('{"a":' * N, DEEP),
    "5,000 digits": ("9" * 5000, "a whole number of more than 300 digits"),
    "400 digits": ("[-" + "9" * 400 + "]", "a whole number of more than 300 digits"),
}
TOML = {
    "deep list": ("a=" + "[" * N, DEEP),
    "deep table": ("a=" + "{a=" * N, DEEP),
    "long key": (".".join("a" * N) + "=1", DEEP),  # takes tens of gigabytes of tomllib's
    "long quoted key": (" . ".join(["'a'", '"b"'] * (N // 4)) + "=1", DEEP),
    "long header": ("[" + ".".join("a" * N) + "]", DEEP),
    "many keys": ("\n".join(f"{'a.' * 30}b{number}=1" for number in range(N)), "longer than any settings"),
    "digits": ("a=" + "9" * 5000, "a whole number of more than 300 digits"),
    "digits in a list": ("a=[{b=" + "9" * 301 + "}]", "a whole number of more than 300 digits"),
    "hexadecimal": ("a=0x" + "f" * 1000, "a whole number of more than 300 digits"),
}
YAML = {
    "deep list": ("a: " + "[" * N, DEEP),
    "deep list in a table": ("{a: [" * 101, DEEP),
    "no character": ('a: "\\UFFFFFFFF"', "int too large"),
    "recursion": ("&a [*a]", "recursive"),
    "a list as a key": ("? [a]\n: b", "unhashable"),
}


@pytest.mark.parametrize("name", JSON)
@pytest.mark.parametrize("encode", [str, str.encode], ids=["text", "bytes"])
def test_json(name: str, encode: type) -> None:
    text, message = JSON[name]
    with pytest.raises(ValueError, match=message):
        parse_json(encode(text))


@pytest.mark.parametrize("name", TOML)
def test_toml(name: str) -> None:
    text, message = TOML[name]
    with pytest.raises(ValueError, match=message):
        parse_toml(text)


@pytest.mark.parametrize("name", YAML)
def test_yaml(name: str) -> None:
    text, message = YAML[name]
    with pytest.raises(ValueError, match=message) as caught:
        parse_yaml(text)
    assert len(str(caught.value).splitlines()) == 1


def test_what_is_sound_passes() -> None:
    values = [{"a": [1, -2.5, "\ud800", "9" * 400, 10**299, None, True]}, -(10**299)]
    assert parse_json(json.dumps(values)) == values
    assert parse_json(json.dumps("é").encode("utf-16")) == "é"
    assert parse_json("1e999") == math.inf
    text = 'a.b.c = ["x.y.z/1.jpg", 2, 3.5]\n["d".e]\nf = {g = "' + "a." * 500 + '"}\nh = 0x1f'
    assert parse_toml(text) == tomllib.loads(text)
    assert parse_yaml("names: [no, 1, 1.5]\nx: &a [b]\ny: *a") == {"names": ["no", "1", "1.5"], "x": ["b"], "y": ["b"]}
    shared = "a0: &a0 [x, x]\n" + "".join(f"a{k + 1}: &a{k + 1} [{', '.join([f'*a{k}'] * 9)}]\n" for k in range(30))
    assert len(parse_yaml(shared)) == 31


@pytest.mark.parametrize("name", JSON)
def test_files_of_json_are_refused_by_name(name: str, tmp_path: Path) -> None:
    text, message = JSON[name]
    for file in ("metrics.json", "config.json", "settings.json"):
        (tmp_path / file).write_text(text)
    write_tensors(
        tmp_path / "detector.safetensors", {"a": torch.zeros(1)}, {"format": "manyview-detector", "detector": text}
    )
    readers = {
        "metrics.json": read_evaluation,
        "config.json": lambda file: RunFolder(file.parent).read_json(file.name),
        "settings.json": read_config_file,
        "detector.safetensors": load_detector,
    }
    for file, read in readers.items():
        with pytest.raises(UserError) as caught:
            read(tmp_path / file)
        assert file in str(caught.value)
        assert message in str(caught.value) or file == "detector.safetensors"
        assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("name", TOML)
def test_settings_of_toml_are_refused(name: str, tmp_path: Path) -> None:
    text, message = TOML[name]
    (tmp_path / "a.toml").write_text(text)
    with pytest.raises(UserError, match=message):
        read_config_file(tmp_path / "a.toml")
    with pytest.raises(UserError, match=r"training\.epochs"):
        resolve_settings("photos", set=[f"training.epochs=[1, {text.partition('=')[2]}"])


@pytest.mark.parametrize(
    ("setting", "most"),
    [
        ("training.epochs", "2,147,483,647"),
        ("data.workers", "1,024"),
        ("training.threads", "1,024"),
        ("monitor.min_rank", "1e+30"),
    ],
)
@pytest.mark.parametrize("value", [10**40, 10**299, 10**400], ids=["40", "299", "400"])
def test_no_setting_takes_a_number_beyond_all_computation(setting: str, most: str, value: int) -> None:
    with pytest.raises(UserError) as caught:
        resolve_settings("photos", set={setting: value})
    assert setting in str(caught.value)
    assert f"must be {most} at most" in str(caught.value) or "must be a valid number" in str(caught.value)
