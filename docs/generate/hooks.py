"""What ``mkdocs build`` does beside its configuration: the API's pages, the changes, equations, anchors as GitHub's."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))
# Files beside docs/ that a page links to, which are copied into the site.
_BESIDE = re.compile(r"\]\(\.\./(benchmarks/[^)]*)\)")


def on_config(config: Any) -> Any:
    """Anchors of headings as GitHub makes them, by which the pages link."""
    from pymdownx.slugs import slugify

    config["mdx_configs"].setdefault("toc", {})["slugify"] = slugify(case="lower")
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that are generated."""
    from mkdocs.structure.files import File

    from docs.generate import generated

    for path, text in generated(ROOT).items():
        files.append(File.generated(config, path, content=text))
    for path in sorted({found for page in (ROOT / "docs").glob("*.md") for found in _BESIDE.findall(page.read_text())}):
        files.append(File.generated(config, path, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Links to files beside the documentation, and equations as MathML, which needs no script and no font."""
    markdown = _BESIDE.sub(r"](\1)", markdown)
    if "$$" not in markdown:
        return markdown
    from latex2mathml.converter import convert

    markdown = re.sub(
        r"\$\$(.+?)\$\$", lambda found: convert(found[1].strip(), display="block"), markdown, flags=re.DOTALL
    )
    # In a span, as Markdown takes a line that begins with an equation for a block.
    return re.sub(r"\$`([^`]+)`\$", lambda found: f"<span>{convert(found[1])}</span>", markdown)
