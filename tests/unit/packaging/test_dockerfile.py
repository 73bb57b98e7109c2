"""The Dockerfile: what it copies and runs exists; built where a daemon and its base image are at hand."""

from __future__ import annotations

import fnmatch
import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def instructions() -> list[tuple[str, str]]:
    """Instruction and arguments of each line, with continued lines joined."""
    text = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE))
    return [(line.split()[0], line.split(maxsplit=1)[1]) for line in text.splitlines() if line.strip()]


def of(name: str) -> list[str]:
    return [" ".join(arguments.split()) for instruction, arguments in instructions() if instruction == name]


def test_the_base_is_a_named_version_that_the_package_supports() -> None:
    build, base = of("FROM")
    found = re.fullmatch(r"python:(\d+)\.(\d+)-slim", base)
    assert found is not None, base
    assert build == base.removesuffix("-slim") + " AS build", "the same Python, with a compiler"
    least = PROJECT["requires-python"].removeprefix(">=").split(".")
    assert (int(found[1]), int(found[2])) >= tuple(map(int, least))


def test_what_is_copied_is_there_and_reaches_the_build() -> None:
    rules = [line for line in (ROOT / ".dockerignore").read_text().split() if line]
    assert rules[0] == "*", "everything is left out but what is named"
    for arguments in of("COPY"):
        *sources, target = arguments.split()
        if sources[0].startswith("--from="):
            assert sources == ["--from=build", target], "what the first stage has made"
            continue
        for source in sources:
            assert (ROOT / source).exists(), source
            assert f"!{source}" in rules, f"{source} is left out by .dockerignore"
            assert not any(fnmatch.fnmatch(source, rule) for rule in rules[1:] if not rule.startswith("!")), source
        assert target.startswith("./")
    assert {"pyproject.toml", "setup.py", "constraints.txt", "README.md", "LICENSE", "src"} == {
        source for arguments in of("COPY") if "--from" not in arguments for source in arguments.split()[:-1]
    }


def test_what_it_runs_and_installs_is_the_packages_own() -> None:
    [entry], [usual] = map(json.loads, of("ENTRYPOINT")), map(json.loads, of("CMD"))
    assert entry[0] in PROJECT["scripts"]
    assert usual == ["--help"]
    wheel, run = of("RUN")
    assert wheel.startswith("pip wheel --no-cache-dir --no-deps --wheel-dir /wheels")
    [extras] = re.findall(r'"\$\(echo /wheels/\*\.whl\)\[([\w,]+)\]"', run)
    assert set(extras.split(",")) <= PROJECT["optional-dependencies"].keys()
    installs = re.findall(r"pip install ([^;&]*)", run)
    assert all("--no-cache-dir" in line and "--constraint constraints.txt" in line for line in installs)
    assert set(re.findall(r"\$(\w+)", run)) <= {argument.split("=")[0] for argument in of("ARG")}
    assert of("USER") == ["65534:65534"], "nobody, and not root"


@pytest.mark.skipif(shutil.which("hadolint") is None, reason="no hadolint")
def test_hadolint_finds_nothing() -> None:
    done = subprocess.run(["hadolint", ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def _can_build() -> bool:
    if shutil.which("docker") is None:
        return False
    asked = ["docker", "image", "inspect", of("FROM")[-1]]  # the base image is here, so no registry is asked
    return subprocess.run(asked, capture_output=True, timeout=60, check=False).returncode == 0


@pytest.mark.timeout(3600)
@pytest.mark.skipif(not _can_build(), reason="no Docker daemon with the base image")
def test_the_image_is_built_and_answers() -> None:
    subprocess.run(["docker", "build", "--quiet", "--tag", "manyview:test", ROOT], check=True)
    answer = subprocess.run(
        ["docker", "run", "--rm", "manyview:test", "--version"], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == PROJECT["version"]
