"""Named recipes, and ``pretrain``, which runs them."""

from manyview.recipes.launch import pretrain, resolve_settings
from manyview.recipes.named import RECIPES, recipe_settings

__all__ = ["RECIPES", "pretrain", "recipe_settings", "resolve_settings"]
