"""The documents say what the code says."""

import re
from pathlib import Path

import pytest

from manyview.config.table import markdown, settings
from manyview.recipes import RECIPES

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_the_guide_lists_every_setting_with_its_default() -> None:
    guide = (ROOT / "docs/guide.md").read_text()
    table = guide.split("<!-- settings -->\n")[1].split("\n<!-- end of settings -->")[0]
    assert table == markdown(), "docs/guide.md is behind the schema: paste manyview.config.table.markdown() into it"


def test_every_setting_says_what_it_means() -> None:
    assert [key for key, _, meaning in settings() if not meaning] == []


def test_the_guide_names_every_recipe() -> None:
    guide = (ROOT / "docs/guide.md").read_text()
    assert [name for name in RECIPES if f"| `{name}` |" not in guide] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)", page.read_text())
    local = [link for link in links if not link.startswith("http")]
    assert [link for link in local if not (page.parent / link).exists()] == []
