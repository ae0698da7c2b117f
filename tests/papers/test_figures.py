"""Every figure of the recipes is the paper's, and every figure typed here has its place in a recipe."""

import figures
import pytest

from looksharp.reproducing.reading import read_recipe, recipe_names


def test_there_is_a_table_for_every_recipe():
    assert set(figures.TABLES) == set(recipe_names())


@pytest.mark.parametrize("name", recipe_names())
def test_figures_are_the_papers(name):
    recipe, typed = read_recipe(name), figures.figures(name)
    expected = dict(typed)
    for row in recipe.rows:
        if row.endswith(figures.AGAIN):
            expected |= {(row, m): value for (own, m), value in typed.items() if own == row.removesuffix(figures.AGAIN)}
    found = {(row, metric): value for row, each in recipe.rows.items() for metric, value in each.paper.items()}
    assert found == expected


def test_how_many_figures_are_compared():
    assert sum(len(each.paper) for name in recipe_names() for each in read_recipe(name).rows.values()) >= 286
