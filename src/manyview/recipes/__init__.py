"""Complete named configurations, and the one call that runs them."""

from manyview.recipes.launch import pretrain
from manyview.recipes.named import RECIPES, recipe_settings

__all__ = ["RECIPES", "pretrain", "recipe_settings"]
