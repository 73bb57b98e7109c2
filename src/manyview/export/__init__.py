"""Export of a backbone to other libraries' formats, each export verified by reading it back."""

from manyview.export.exporting import Exported, export_backbone
from manyview.export.registry import FORMATS

__all__ = ["FORMATS", "Exported", "export_backbone"]
