"""Pages of the documentation that are not written by hand."""

from __future__ import annotations

from pathlib import Path

from docs.generate import api


def generated(root: Path) -> dict[str, str]:
    """Markdown by path in the documentation: the API's pages, and the changes of the versions."""
    return {**api.pages(), "changelog.md": (root / "CHANGELOG.md").read_text()}
