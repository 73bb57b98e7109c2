"""Features of any number of photographs as a file, written and read a part at a time."""

from manyview.evaluation.embedding.output import claim_files
from manyview.evaluation.embedding.reading import StoredFeatures, read_features
from manyview.evaluation.embedding.record import format_written
from manyview.evaluation.embedding.writing import embed

__all__ = ["StoredFeatures", "claim_files", "embed", "format_written", "read_features"]
