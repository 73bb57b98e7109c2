"""A look at images and labels before a run: what cannot be read, what is there twice, what a run would take."""

from manyview.recipes.check.check import check_images

__all__ = ["check_images"]
