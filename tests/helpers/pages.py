"""A page as its elements, which must be balanced, with what holds for every page."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any

_VOID = {"meta", "img", "br", "input", "image", "rect"}


class Page(HTMLParser):
    """Every element with its attributes and its text; elements that are not balanced are an error."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html = html
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[tuple[tuple[str, ...], str]] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"{tag} has an attribute twice: {names}"
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data: str) -> None:
        self.texts.append((tuple(self.open), data))

    def inside(self, tag: str) -> list[str]:
        """Texts of all elements of a name, each with those within it."""
        return [text for path, text in self.texts if tag in path]

    @property
    def text(self) -> str:
        """What a reader sees."""
        words = [text for path, text in self.texts if not {"script", "style"} & set(path)]
        return " ".join(" ".join(words).split())

    @property
    def data(self) -> Any:
        """What the script draws from."""
        return json.loads("".join(self.inside("script")[:1]))

    def all(self, tag: str, **wanted: str) -> list[dict[str, str]]:
        """Attributes of all elements of a name with these attributes among them."""
        return [found for name, found in self.elements if name == tag and wanted.items() <= found.items()]


def check_page(page: Page) -> None:
    """What holds for every page: nothing from elsewhere, one script, unique ids, ordered headings, named pictures."""
    assert {"link", "iframe", "object", "base", "form", "audio", "video"} & {tag for tag, _ in page.elements} == set()
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for tag, attributes in page.elements:
        for name, value in attributes.items():
            assert not name.startswith("on"), f"{tag} {name}"
            if name in ("src", "href"):
                assert value.startswith(("data:image/", "#")), f"{tag} {value[:80]}"
            if name == "href" and value.startswith("#"):
                assert value[1:] in ids
            if name == "aria-labelledby":
                assert value in ids
        assert tag != "img" or attributes.get("alt")
        assert tag != "th" or attributes.get("scope")
    _check_headings(page)
    _check_policy(page)
    style = "".join(page.inside("style"))
    assert "@import" not in style
    assert "url(" not in style


def _check_headings(page: Page) -> None:
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    for before, after in pairwise(levels):
        assert after <= before + 1, f"h{before} is followed by h{after}"


def _check_policy(page: Page) -> None:
    """The policy allows one script, that of the page, and nothing from elsewhere."""
    [policy] = [found["content"] for found in page.all("meta") if found.get("http-equiv") == "Content-Security-Policy"]
    kinds = [found.get("type") for found in page.all("script")]
    assert kinds == ["application/json", None]
    script = page.html.rpartition("<script>")[2].partition("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert "img-src data:" in policy
