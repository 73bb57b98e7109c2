"""The equations of the papers, as pure functions."""

from manyview.losses.image_aware import image_aware_loss
from manyview.losses.similarity import negative_cosine_similarity, symmetric_similarity

__all__ = ["image_aware_loss", "negative_cosine_similarity", "symmetric_similarity"]
