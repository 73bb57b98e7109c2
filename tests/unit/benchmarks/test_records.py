from __future__ import annotations

import json
import platform
import shutil
from pathlib import Path

import pytest

from benchmarks.records import origin, put_between_markers, table, write_json

PAGE = Path(__file__).parents[3] / "docs/performance.md"


@pytest.mark.parametrize("name", ["views", "loss", "parity", "frequencies", "loader", "extraction", "head"])
def test_a_table_replaces_what_stands_between_its_markers_and_nothing_else(name: str, tmp_path: Path) -> None:
    page = Path(shutil.copy(PAGE, tmp_path))
    put_between_markers(page, name, "first")
    put_between_markers(page, name, "second\n\n")
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    before, _, rest = PAGE.read_text().partition(begin)
    assert page.read_text() == before + begin + "second\n" + rest[rest.index(end) :].join(["", ""])


def test_a_page_without_the_markers_is_refused_and_kept(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- views -->\nno end\n")
    with pytest.raises(ValueError, match="must hold the lines '<!-- views -->'"):
        put_between_markers(page, "views", "table")
    assert page.read_text() == "<!-- views -->\nno end\n"


def test_figures_of_a_table_stand_to_the_right() -> None:
    assert table(["", "a"], [["x", "1"], ["y", "2"]]) == "|  | a |\n| --- | ---: |\n| x | 1 |\n| y | 2 |"


def test_a_result_says_where_it_comes_from(tmp_path: Path) -> None:
    write_json(tmp_path / "new/result.json", origin("views", ["--photos", "my images"]))
    about = json.loads((tmp_path / "new/result.json").read_text())
    assert about["command"] == "python -m benchmarks.views --photos 'my images'"
    assert about["versions"]["python"] == platform.python_version()
    assert {"torch", "opencv-python-headless", "simplejpeg", "lightly", "kornia"} <= about["versions"].keys()
    assert about["machine"]["cores"] >= 1
    assert about.keys() >= {"commit", "started"}
