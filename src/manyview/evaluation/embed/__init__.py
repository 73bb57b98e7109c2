"""Features of any number of photographs as a file, written and read a part at a time."""

from manyview.evaluation.embed.read import StoredFeatures, read_features
from manyview.evaluation.embed.settings import format_written
from manyview.evaluation.embed.write import embed

__all__ = ["StoredFeatures", "embed", "format_written", "read_features"]
