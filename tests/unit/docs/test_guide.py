"""The documents say what the code says."""

import re
import tomllib
from pathlib import Path

import pytest

from manyview.config import ViewsConfig, parse_assignment, resolve
from manyview.config.resolve import Assignment, flatten
from manyview.config.table import markdown, settings
from manyview.recipes import RECIPES, recipe_settings

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_the_guide_lists_every_setting_with_its_default() -> None:
    guide = (ROOT / "docs/guide.md").read_text()
    table = guide.split("<!-- settings -->\n")[1].split("\n<!-- end of settings -->")[0]
    assert table == markdown(), "docs/guide.md is behind the schema: paste manyview.config.table.markdown() into it"


def test_every_setting_says_what_it_means() -> None:
    assert [key for key, _, meaning in settings() if not meaning] == []


def test_the_guide_names_every_recipe() -> None:
    guide = (ROOT / "docs/guide.md").read_text()
    assert [name for name in RECIPES if f"| `{name}` |" not in guide] == []


def test_the_multi_crop_of_the_guide_is_two_large_and_six_small_views() -> None:
    guide = (ROOT / "docs/guide.md").read_text()
    (example,) = [block for block in re.findall(r"```toml\n(.*?)```", guide, re.DOTALL) if "[[views.groups]]" in block]
    views = resolved(list(flatten(tomllib.loads(example), "guide.md")))
    assert [(group.size, group.count) for group in views.layout] == [(224, 2), (96, 6)]
    assert [group.augmentation.blur for group in views.layout] == [(1.0, 0.1), (0.5, 0.5)]
    assert [group.augmentation.solarize for group in views.layout] == [(0.0, 0.2)] * 2
    texts = re.findall(r"--set (views\.kind=groups) --set '(views\.groups=.*)'", guide)[0]
    line = resolved([parse_assignment(text) for text in texts])
    assert [group.augmentation.scale for group in line.layout] == [group.augmentation.scale for group in views.layout]


def resolved(user: list[Assignment]) -> ViewsConfig:
    return resolve({"data": {"images": "photos"}, **recipe_settings("simsiam")}, user).views


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]*)(?:#([^)]*))?\)", page.read_text())
    local = [(page.parent / link if link else page, anchor) for link, anchor in links if not link.startswith("http")]
    assert [file for file, _ in local if not file.exists()] == []
    assert [(file, anchor) for file, anchor in local if anchor and anchor not in anchors(file)] == []


def anchors(page: Path) -> set[str]:
    """Those of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
