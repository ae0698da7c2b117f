import json

import pytest

from looksharp.experiments.record import Record
from looksharp.reproducing.chart import draw_chart, points_of
from looksharp.reproducing.measuring import figure_name
from looksharp.reproducing.reading import read_recipe
from looksharp.reproducing.recipe import parse_recipe
from looksharp.reproducing.running import reproduce
from looksharp.reproducing.table import lines_of

RECIPE = {
    "paper": "P",
    "title": "P Fig. 5",
    "data": "--root",
    "images": 16,
    "gflops": 1,
    "settings": {
        "data": "digits", "digits": {"train": 16, "val": 8, "test": 10}, "backbone": "small", "epochs": 1,
        "batch_size": 8,
    },
    "measure": {
        "error": {"value": "top1", "unit": "error"},
        "operations": {"suite": "cost", "value": "multiply_adds", "unit": "plain"},
    },
    "chart": {"across": "operations", "up": "error"},
    "rows": {"plain": {"label": "Net", "paper": {"error": 20.0, "operations": 0.1}}, "other": {"label": "Other"}},
}  # fmt: skip


def test_points_are_the_papers_and_ours():
    """WARN Table 2 and Fig. 5: errors are drawn as accuracy."""
    recipe = read_recipe("warn/table2-cifar10")
    values = {figure_name("error", "last"): 4.5, figure_name("multiply-adds", "last"): 5.25}
    points = points_of(recipe, lines_of(recipe, [Record("warn28", 0, values), Record("warn40", 0, {})]))
    assert points["ours"] == {"WARN-28-10": (5.25, 95.5)}
    papers = points["paper"]
    assert papers.keys() == {each.label for each in recipe.rows.values()}
    assert papers["WRN-40-10, dropout 0.3"] == (8.1, pytest.approx(96.2))
    assert papers["WARN-40-10"] == (8.2, pytest.approx(96.54))
    drawn = draw_chart(recipe, points).decode()
    assert drawn.count('id="PathCollection') == 2 * (len(papers) + 1)  # each point, and its place in the legend


def test_the_chart_stands_beside_the_table(tmp_path):
    recipe = parse_recipe("p/figure", RECIPE)
    home = reproduce(
        recipe, tmp_path, rows=["plain"], device="cpu", workers=0, progress=False, report=lambda line: None
    )
    drawn = (home / "chart.svg").read_text()
    assert drawn.count('id="PathCollection') == 2 * 2  # the paper's point and ours, each in the legend too
    lines = json.loads((home / "results.json").read_text())["lines"]
    found = {line["metric"]: line["ours"] for line in lines if line["row"] == "plain"}
    records = [Record("plain", 0, {figure_name(metric, "last"): value for metric, value in found.items()})]
    points = points_of(recipe, lines_of(recipe, records))
    assert points["ours"] == {"Net": (found["operations"], pytest.approx(100 - found["error"]))}


@pytest.mark.parametrize("chart", [{"across": "error"}, {"across": "error", "up": "top9"}])
def test_a_chart_names_two_metrics(chart):
    with pytest.raises(ValueError, match="recipe p/figure: chart must name a metric across and one up, of error, ope"):
        parse_recipe("p/figure", RECIPE | {"chart": chart})
