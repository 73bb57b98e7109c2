"""The page in a browser: no errors, and what a reader clicks and types. Needs Chromium and the extra ``browser``."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from manyview.report.page import write_report
from tests.helpers.reports import write_linear, write_run
from tests.helpers.tiny import photos

__all__ = ["photos"]

CHROMIUM, DRIVER = shutil.which("chromium") or shutil.which("chromium-browser"), shutil.which("chromedriver")
MISSING = [
    name
    for name, found in {
        "selenium": importlib.util.find_spec("selenium"),
        "chromium": CHROMIUM,
        "chromedriver": DRIVER,
    }.items()
    if not found
]
pytestmark = [
    pytest.mark.skipif(bool(MISSING), reason=f"{' and '.join(MISSING)} missing"),
    # Of selenium's own connections, which it leaves to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    options = Options()
    options.binary_location = CHROMIUM or ""
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--force-prefers-reduced-motion",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def page(browser: Any, photos: Path, tmp_path: Path) -> Any:
    runs = [
        write_run(tmp_path / name, photos, recipe=name, seed=seed) for seed, name in enumerate(("paper", "simsiam"))
    ]
    write_linear(tmp_path / "linear", runs[0] / "backbone.safetensors", ["cat", "<dog>", "bird"])
    out = write_report(runs, out=tmp_path / "r.html", photographs=1, dense_features=False)
    browser.get(out.as_uri())
    return browser


def test_what_a_reader_does(page: Any) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    def one(selector: str) -> Any:
        return page.find_element(By.CSS_SELECTOR, selector)

    def script(code: str) -> Any:
        return page.execute_script(f"return {code}")

    # A table is sorted, up and down.
    cells = "document.querySelector('#classes table.sortable').querySelectorAll('tbody tr > :nth-child(5)')"
    values = f"[...{cells}].map(each => +each.dataset.value)"
    button = one("#classes table.sortable th:nth-child(5) button")
    script("document.querySelector('#classes').scrollIntoView()")
    button.click()
    assert script(values) == sorted(script(values), reverse=True)
    button.click()
    assert script(values) == sorted(script(values))
    assert one("#classes th:nth-child(5)").get_attribute("aria-sort") == "ascending"
    # A run is switched off in all charts, a curve in one; the axis is another; all of it stands in the address.
    curves = "document.querySelectorAll('figure.chart[data-key=std] path.curve').length"
    assert script("document.querySelectorAll('figure.chart[data-key=std] .plot path.curve').length") == 2
    one("input[name=run][value='1']").click()
    assert script("document.querySelectorAll('figure.chart[data-key=std] .plot path.curve').length") == 1
    one("input[name=x][value=epochs]").click()
    assert "epochs" in script("document.querySelector('figure.chart[data-key=std] svg').textContent")
    one("figure.chart[data-key=map] button.series").click()
    address = script("location.hash")
    assert all(part in address for part in ("x=epochs", "off=1", "hide=map.0."))
    # One cursor moves through all charts with the arrow keys.
    plot = one("figure.chart[data-key=std] .plot")
    script("document.querySelector('figure.chart[data-key=std] .plot').focus()")
    plot.send_keys(Keys.HOME)
    assert plot.get_attribute("aria-valuetext").startswith("epoch 0.25: ")
    plot.send_keys(Keys.ARROW_RIGHT)
    assert plot.get_attribute("aria-valuetext").startswith("epoch 0.5: ")
    assert one("figure.chart[data-key=rank] .at").text == "epoch 0.5"
    assert script("document.querySelectorAll('line.cursor[visibility=visible]').length") > 3
    plot.send_keys(Keys.ESCAPE)
    assert one("figure.chart[data-key=rank] .at").text == "at the end"
    # The colors are the other ones, and what the address says holds when the page is opened again.
    before = script("getComputedStyle(document.body).backgroundColor")
    one("#theme").click()
    assert script("getComputedStyle(document.body).backgroundColor") != before
    page.get(page.current_url)
    page.refresh()
    assert script("document.querySelector('input[name=x]:checked').value") == "epochs"
    assert not one("input[name=run][value='1']").is_selected()
    assert script("getComputedStyle(document.body).backgroundColor") != before
    assert script(curves) >= 1
    assert script("document.documentElement.scrollWidth <= innerWidth")
    assert page.get_log("browser") == []
