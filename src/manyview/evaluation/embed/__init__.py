"""Files of features of any number of images, written and read in chunks."""

from manyview.evaluation.embed.read import StoredFeatures, read_features
from manyview.evaluation.embed.write import embed, format_written

__all__ = ["StoredFeatures", "embed", "format_written", "read_features"]
