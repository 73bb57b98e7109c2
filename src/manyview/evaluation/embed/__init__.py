"""Features of any number of images as a file, written and read a part at a time."""

from manyview.evaluation.embed.read import StoredFeatures, read_features
from manyview.evaluation.embed.write import embed, format_written

__all__ = ["StoredFeatures", "embed", "format_written", "read_features"]
