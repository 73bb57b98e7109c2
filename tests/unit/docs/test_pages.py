"""The documents say what the code says."""

import json
import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from docs.generate import generated
from manyview.cli.parts.app import app
from manyview.config import ViewsConfig, parse_assignment, resolve
from manyview.config.resolve import Assignment, flatten
from manyview.config.table import markdown, settings
from manyview.recipes import RECIPES, recipe_settings

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_the_guide_lists_every_setting_with_its_default() -> None:
    guide = (ROOT / "docs/settings.md").read_text()
    table = guide.split("<!-- settings -->\n")[1].split("\n<!-- end of settings -->")[0]
    assert table == markdown(), "docs/settings.md is behind the schema: paste manyview.config.table.markdown() into it"


def test_every_setting_says_what_it_means() -> None:
    assert [key for key, _, meaning in settings() if not meaning] == []


def test_the_guide_names_every_recipe() -> None:
    guide = (ROOT / "docs/recipes.md").read_text()
    assert [name for name in RECIPES if f"| `{name}` |" not in guide] == []


def test_the_multi_crop_of_the_guide_is_two_large_and_six_small_views() -> None:
    guide = (ROOT / "docs/settings.md").read_text()
    (example,) = [block for block in re.findall(r"```toml\n(.*?)```", guide, re.DOTALL) if "[[views.groups]]" in block]
    views = resolved(list(flatten(tomllib.loads(example), "settings.md")))
    assert [(group.size, group.count) for group in views.layout] == [(224, 2), (96, 6)]
    assert [group.augmentation.blur for group in views.layout] == [(1.0, 0.1), (0.5, 0.5)]
    assert [group.augmentation.solarize for group in views.layout] == [(0.0, 0.2)] * 2
    texts = re.findall(r"--set (views\.kind=groups) --set '(views\.groups=.*)'", guide)[0]
    line = resolved([parse_assignment(text) for text in texts])
    assert [group.augmentation.scale for group in line.layout] == [group.augmentation.scale for group in views.layout]


def resolved(user: list[Assignment]) -> ViewsConfig:
    return resolve({"data": {"images": "photos"}, **recipe_settings("simsiam")}, user).views


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
@pytest.mark.parametrize(
    ("status", "restarts", "is_queued"),
    [
        *[(status, 0, False) for status in (0, 2, 130)],
        *[(status, 0, True) for status in (75, 137, 138, 143)],
        *[(status, 9, True) for status in (75, 137)],
        *[(status, 10, False) for status in (75, 137)],
        *[(status, 50, True) for status in (138, 143)],
    ],
)
def test_the_batch_script_queues_the_job_again_where_going_on_may_succeed(
    status: int, restarts: int, is_queued: bool, tmp_path: Path
) -> None:
    guide = (ROOT / "docs/run-folder.md").read_text()
    (script,) = [block for block in re.findall(r"```sh\n(.*?)```", guide, re.DOTALL) if "#SBATCH" in block]
    called = tmp_path / "called"
    for name, end in (("srun", status), ("scontrol", 0)):
        (tmp_path / name).write_text(f'#!/bin/sh\necho {name} "$@" >> {called}\nexit {end}\n')
        (tmp_path / name).chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "SLURM_JOB_ID": "77"}
    if restarts:
        environment["SLURM_RESTART_COUNT"] = str(restarts)
    done = subprocess.run(["bash", "-c", script], env=environment, check=False)
    lines = called.read_text().splitlines()
    assert done.returncode == status
    assert lines[1:] == (["scontrol requeue 77"] if is_queued else [])
    words = lines[0].split()
    verb, *arguments = words[words.index("manyview") + 1 :]
    commands: Any = get_command(app)
    assert commands.commands[verb].make_context(verb, arguments).params["resume"] == "auto"


ROWS = {
    "random init": ("image-aware", "random_init"),
    "`simsiam`": ("simsiam", "pretrained"),
    "`simsiam-4pairs`": ("simsiam-4pairs", "pretrained"),
    "`paper` without the image-aware loss": ("paper-0", "pretrained"),
    "`paper`, weight 68": ("paper-68", "pretrained"),
    "`paper` with `losses.image_aware.weight=68`": ("paper-68", "pretrained"),
    "`paper`": ("paper", "pretrained"),
    "image-aware loss alone": ("image-aware", "pretrained"),
    "`mocov2-64`": ("mocov2-64", "pretrained"),
}


@pytest.mark.parametrize(("page", "count"), [("README.md", 6), ("docs/results.md", 8)])
def test_the_figures_of_the_h100_are_those_of_its_results(page: str, count: int) -> None:
    results = json.loads((ROOT / "benchmarks/gpu/results/h100/quality.json").read_text())
    table = (ROOT / page).read_text().partition("<!-- h100 -->\n")[2].partition("\n<!-- end of h100 -->")[0]
    lines = [line.strip("| ").split(" | ") for line in table.splitlines()[2:] if "on a CPU" not in line]
    assert len(lines) == count
    for title, *cells in lines:
        case, network = next(row for start, row in ROWS.items() if title.startswith(start))
        runs = [results[name]["logistic"] for seed in (0, 1) if (name := f"seed {seed}, {case}") in results]
        for cell, (pool, figure) in zip(cells, [("avg", "mAP"), ("gamp", "mAP"), ("avg", "CF1")], strict=False):
            assert cell == ", ".join(f"{100 * run[pool][network][figure]:.1f}" for run in runs), (title, pool, figure)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]*)(?:#([^)]*))?\)", page.read_text())
    local = [(page.parent / link if link else page, anchor) for link, anchor in links if not link.startswith("http")]
    made = generated(ROOT)
    local = [(file, anchor) for file, anchor in local if relative(file) not in made]
    assert [file for file, _ in local if not file.exists()] == []
    assert [(file, anchor) for file, anchor in local if anchor and anchor not in anchors(file)] == []


def relative(file: Path) -> str:
    """A page's path in the documentation."""
    return os.path.relpath(file, ROOT / "docs").replace(os.sep, "/")


def anchors(page: Path) -> set[str]:
    """Those of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
