"""The page of a run that is still training, on this machine's own address."""

from manyview.report.live.watch import watch

__all__ = ["watch"]
