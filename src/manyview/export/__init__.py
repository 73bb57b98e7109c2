"""A backbone into other libraries' formats, each export read back before it counts."""

from manyview.export.exporting import Exported, export_backbone
from manyview.export.registry import FORMATS

__all__ = ["FORMATS", "Exported", "export_backbone"]
