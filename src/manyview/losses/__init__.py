"""Losses, as pure functions of vectors and of the images they belong to."""

from manyview.losses.across import distributed_image_aware_loss
from manyview.losses.image_aware import FORMS, anchor_terms, image_aware_loss
from manyview.losses.similarity import negative_cosine_similarity, symmetric_similarity

__all__ = [
    "FORMS",
    "anchor_terms",
    "distributed_image_aware_loss",
    "image_aware_loss",
    "negative_cosine_similarity",
    "symmetric_similarity",
]
