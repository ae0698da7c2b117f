"""Reproduce the papers' tables: recipes, their runs, and the paper's figures beside ours."""

from looksharp.reproducing.reading import read_recipe, recipe_names
from looksharp.reproducing.recipe import Recipe, Row
from looksharp.reproducing.running import reproduce

__all__ = ["Recipe", "Row", "read_recipe", "recipe_names", "reproduce"]
