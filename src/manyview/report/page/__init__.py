"""A report on runs as one HTML file: what was trained, how it went, and what the weights are worth."""

from manyview.report.page.report import write_report

__all__ = ["write_report"]
