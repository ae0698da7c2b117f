import csv
import json

import pytest

from looksharp.experiments.record import Record, write_record
from looksharp.reproducing.figure import Measure
from looksharp.reproducing.measuring import figure_name
from looksharp.reproducing.recipe import parse_recipe
from looksharp.reproducing.table import lines_of, write_tables

RECIPE = parse_recipe(
    "p/table",
    {
        "paper": "P",
        "title": "Table 1",
        "data": "--root",
        "images": 10,
        "gflops": 1,
        "measure": {
            "top1": {"value": "top1"},
            "gain": {"value": "top1", "gain": True},
            "per million": {"value": "top1", "gain": True, "per_million": True},
        },
        "rows": {
            "plain": {"label": "A | B", "paper": {"top1": 70.0}},
            "better": {"label": "C", "paper": {"top1": 72.5, "gain": 2.5}, "over": "plain"},
        },
    },
)


def result(row, seed, top1, best=None, parameters=1_000_000, **changes):
    values = {figure_name(metric, "last"): top1 for metric in RECIPE.measure} | {"parameters": float(parameters)}
    values |= {figure_name(metric, "best"): best or top1 for metric in RECIPE.measure}
    facts = {"settings": {"lr": 0.1}, "data": "d", "images": 10, "epochs": 2, "seconds": 1.0}
    facts |= {"commit": "abc", "hardware": "GPU"}
    return Record(row, seed, values, **(facts | changes))


def line(lines, row, metric):
    return next(each for each in lines if (each.row, each.metric) == (row, metric))


def test_means_spreads_and_differences_over_seeds():
    lines = lines_of(RECIPE, [result("plain", 0, 69.0, 71.0), result("plain", 2, 73.0, commit="def")])
    found = line(lines, "plain", "top1")
    assert (found.ours, found.best, found.seeds) == (71.0, 72.0, (0, 2))
    assert found.spread == pytest.approx(8**0.5)  # 69 and 73, n - 1
    assert found.difference == pytest.approx(1.0)
    assert found.best_difference == pytest.approx(2.0)
    assert found.commit == "abc; def"
    missing = line(lines, "better", "top1")
    assert (missing.paper, missing.ours, missing.difference, missing.seeds) == (72.5, None, None, ())


def test_gains_are_over_the_same_seed_and_per_million_of_added_parameters():
    plain = [result("plain", 0, 70.0), result("plain", 1, 60.0)]
    better = [result("better", 1, 63.0, parameters=3_000_000), result("better", 5, 99.0, parameters=3_000_000)]
    lines = lines_of(RECIPE, plain + better)
    gain = line(lines, "better", "gain")
    assert (gain.ours, gain.seeds) == (pytest.approx(3.0), (1,))
    assert gain.difference == pytest.approx(0.5)
    assert line(lines, "better", "per million").ours == pytest.approx(3.0 / 2)
    assert line(lines, "plain", "per million").ours == pytest.approx(65.0)  # of the network by itself
    assert not any((each.row, each.metric) == ("plain", "gain") for each in lines)


def test_a_smoke_run_is_marked_and_compared_with_nothing(tmp_path):
    write_record(tmp_path / "plain" / "seed-0", result("plain", 0, 1.0))
    write_tables(RECIPE, tmp_path, 0.01)
    text = (tmp_path / "results.md").read_text()
    assert "Smoke run at scale 0.01" in text
    assert "Not a reproduction" in text
    with (tmp_path / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["difference"] for row in rows} == {row["best_difference"] for row in rows} == {""}
    assert {row["scale"] for row in rows} == {"0.01"}
    assert all(each["difference"] is None for each in json.loads((tmp_path / "results.json").read_text())["lines"])


def test_files_hold_the_same_figures(tmp_path):
    write_record(tmp_path / "plain" / "seed-0", result("plain", 0, 71.25))
    write_record(tmp_path / "better" / "seed-0", result("better", 0, 72.0, parameters=2_000_000))
    write_tables(RECIPE, tmp_path)
    text = (tmp_path / "results.md").read_text()
    assert "| A / B | top1 | 70.00 | 71.25 | 71.25 | +1.25 | +1.25 | 0 | abc | GPU |" in text
    assert "| C | gain | 2.50 | 0.75 | 0.75 | -1.75 | -1.75 | 0 | abc | GPU |" in text
    assert "moke" not in text
    with (tmp_path / "results.csv").open(newline="") as file:
        rows = {(row["row"], row["metric"]): row for row in csv.DictReader(file)}
    assert float(rows["better", "top1"]["difference"]) == pytest.approx(-0.5)
    content = json.loads((tmp_path / "results.json").read_text())
    assert [run["row"] for run in content["runs"]] == ["better", "plain"]
    assert content["runs"][0]["settings"] == {"lr": 0.1}


@pytest.mark.parametrize(("unit", "expected"), [("percent", 25.0), ("error", 75.0), ("plain", 0.25)])
def test_units(unit, expected):
    assert Measure("top1", unit=unit).shown(0.25) == expected
