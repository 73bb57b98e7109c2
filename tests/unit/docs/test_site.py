"""The documentation as a site: every page is in its menu, every command exists, the API's pages say what there is."""

from __future__ import annotations

import importlib
import importlib.util
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from docs.generate import api, generated
from manyview.cli.parts.app import app

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"
WRITTEN = [page for page in sorted(DOCS.rglob("*.md")) if "generate" not in page.parts]
CODE = [ROOT / "README.md", *WRITTEN]
COMMANDS: Any = get_command(app)
# Programs that are not ours and whose options nobody here knows.
OTHERS = {"pip", "docker", "case", "status=$?", "exit", "pytest", "polygraphy"}


def menu(entries: Any) -> Iterator[str]:
    """The pages of a navigation."""
    for entry in entries:
        for page in entry.values() if isinstance(entry, dict) else [entry]:
            yield from [page] if isinstance(page, str) else menu(page)


def configuration() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
    return loaded


def test_the_menu_lists_every_page_once() -> None:
    pages = [*(page.relative_to(DOCS).as_posix() for page in WRITTEN), *generated(ROOT)]
    assert sorted(menu(configuration()["nav"])) == sorted(pages)


def test_nothing_is_loaded_from_elsewhere() -> None:
    config = configuration()
    assert config["theme"]["font"] is False
    assert "offline" in config["plugins"]
    assert all((DOCS / script).is_file() for script in config["extra"]["polyfills"])


def test_installing_names_every_extra() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"].keys()
    table = (DOCS / "install.md").read_text().partition("| extra |")[2].partition("\n\n")[0]
    assert set(re.findall(r"`([a-z]+)`", table)) == extras - {"bench", "browser", "docs", "examples", "test"}


def commands(page: Path) -> Iterator[str]:
    """Each command of a page's shell blocks, in one line and without comments, and those in running text."""
    text = page.read_text()
    for block in re.findall(r"^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        whole = re.sub(r"\\\n\s*|\n[ \t]+", " ", block)
        for line in whole.splitlines():
            if command := re.sub(r"(^|\s)#.*", "", line).strip():
                yield command
    prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    yield from (" ".join(code.split()) for code in re.findall(r"`(manyview [a-z][^`]*)`", prose))


def faults(command: str) -> Iterator[str]:
    """What is wrong with a command: a program, verb, target, module or option that does not exist."""
    words = command.split()
    while words and re.match(r"[A-Z_]+=", words[0]):
        words.pop(0)
    program = words[0].removeprefix(".venv/bin/") if words else ""
    if program == "docker" and words[1] != "run":
        return
    if "manyview" in words or program == "manyview":
        at = next(index for index, word in enumerate(words) if Path(word).name == "manyview")
        yield from _faults_of_verb(words[at + 1 :])
    elif program == "make":
        targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
        yield from (word for word in words[1:] if "=" not in word and word not in targets)
    elif program in ("python", "torchrun") and "-m" in words:
        module = words[words.index("-m") + 1]
        if importlib.util.find_spec(module) is None:
            yield module
    elif program == "python":
        yield from (word for word in words[1:2] if word.endswith(".py") and "/" in word and not (ROOT / word).exists())
    elif program not in OTHERS:
        yield program


def _faults_of_verb(words: list[str]) -> Iterator[str]:
    verbs = re.split(r"\|", words[0]) if words else []
    if not verbs or verbs[0].startswith("-"):
        found = COMMANDS
    elif verbs[0] not in COMMANDS.commands:
        yield verbs[0]
        return
    else:
        found = COMMANDS.commands[verbs[0]]
    known = {flag for each in found.params for flag in (*each.opts, *each.secondary_opts)} | {"--help", "-h"}
    known |= {"--install-completion", "--show-completion"}
    for flag in re.findall(r"(?<![\w/-])--[a-z][\w-]*", " ".join(words)):
        if flag not in known:
            yield f"{' '.join(words[:1])} {flag}"


@pytest.mark.parametrize("page", CODE, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_command_exists_with_its_options(page: Path) -> None:
    assert [(command, fault) for command in commands(page) for fault in faults(command)] == []


def test_a_command_that_does_not_exist_is_found() -> None:
    wrong = {
        "manyview pretrian photos": ["pretrian"],
        "manyview linear runs/a --pol gamp --size=3": ["linear --pol"],
        "torchrun --nproc-per-node 4 -m manyview pretrain photos --outt a": ["pretrain --outt"],
        "make tset": ["tset"],
        "python -m benchmarks.nothing": ["benchmarks.nothing"],
        "manyveiw demo": ["manyveiw"],
    }
    assert {command: list(faults(command)) for command in wrong} == wrong


def test_the_pages_of_the_api_have_every_public_name() -> None:
    made = api.pages()
    for name, (_, modules, names) in api.PAGES.items():
        page = made[f"api/{name}.md"]
        headings = re.findall(r"^## (.*)$", page, re.MULTILINE)
        public = [each for module in modules for each in names or api.public_names(importlib.import_module(module))]
        present = [each for each in public if any(hasattr(importlib.import_module(module), each) for module in modules)]
        assert set(headings) == set(present), name
        assert not re.search(r"^(Args|Returns|Raises):", page, re.MULTILINE)
        assert "``" not in page.replace("```", "")
    pretrain = made["api/manyview.md"].split("## load_backbone")[0]
    assert "- `steps`: optimizer steps, instead of `epochs`." in pretrain
    assert "    resume=False," in pretrain


def test_a_docstring_becomes_lists_and_its_signs_no_html() -> None:
    def documented() -> None:
        """Weigh ``x`` < y.

        Args:
            x: a number, which
                goes on.
            **rest: <others>.

        Raises:
            ValueError: never.
        """

    page = api._entry("here", "documented", documented)
    assert page == (
        "## documented\n\n```python\nhere.documented()\n```\n\nWeigh `x` &lt; y.\n\n"
        "**Args**\n\n- `x`: a number, which goes on.\n- `**rest`: &lt;others>.\n\n**Raises**\n\n- `ValueError`: never."
    )


@pytest.mark.skipif(importlib.util.find_spec("material") is None, reason="no mkdocs-material: make docs installs it")
def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", tmp_path]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    page = (tmp_path / "method.html").read_text()
    assert "$" not in re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    assert '<math xmlns="http://www.w3.org/1998/Math/MathML" display="block"' in page
    scripts = re.findall(r'<(?:script|link)[^>]*(?:src|href)="(https?:[^"]*)"', page)
    assert scripts == [], "nothing is loaded from elsewhere"
