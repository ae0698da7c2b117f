import torch

from looksharp.comparison.details import hardest_split, mean_separation
from looksharp.evaluation import Evaluation
from looksharp.experiments.differences import Entry
from looksharp.metrics.margin import SeparationChart


def _entry(checkpoint, split, metric, method, mean):
    return Entry(checkpoint, split, metric, method, 1, mean, float("nan"))


def test_the_split_on_which_the_first_method_does_worst():
    entries = [
        _entry("last", "easy", "top1", "plain", 0.9),
        _entry("last", "hard", "top1", "plain", 0.4),
        _entry("last", "easy", "top1", "sharp", 0.1),
        _entry("best", "easy", "top1", "plain", 0.0),
        _entry("last", "easy", "loss", "plain", -1.0),
    ]
    assert hardest_split(entries, "plain") == "hard"
    assert hardest_split(entries, "sharp") == "easy"
    assert hardest_split([_entry("last", "a", "map", "plain", 0.3)], "plain") == "a"
    assert hardest_split(entries, "nobody") is None
    assert hardest_split([_entry("last", "a", "top1", "plain", float("nan"))], "plain") is None


def _evaluation(true, confused):
    chart = SeparationChart(bins=4)
    chart.update(torch.tensor(true), torch.tensor(confused))
    found = chart.compute()
    return Evaluation(tables={"separation_chart": {name: part.tolist() for name, part in found._asdict().items()}})


def test_curves_are_averaged_over_seeds():
    chart = mean_separation([_evaluation([0.75, 1.0], [0.0, 0.25]), _evaluation([0.5, 1.0], [0.0, 0.75])])
    assert chart["probability"] == [0, 0.25, 0.5, 0.75, 1]
    assert chart["target"] == [0, 0, 0.25, 0.5, 1]  # (0 0 0 .5 1) and (0 0 .5 .5 1)
    assert chart["confused"] == [0.5, 0.75, 0.75, 1, 1]  # (.5 1 1 1 1) and (.5 .5 .5 1 1)
    assert (chart["margin"], chart["at"]) == (0.75, 0.25)


def test_one_seed_is_its_own_chart():
    evaluation = _evaluation([0.75, 0.5], [0.0, 0.5])
    assert mean_separation([evaluation]) == evaluation.tables["separation_chart"]


def test_no_chart_where_there_is_none():
    assert mean_separation([Evaluation()]) is None
    nothing = {"probability": [0.0, 1.0], "target": [None, None], "confused": [None, None], "margin": None, "at": None}
    assert mean_separation([Evaluation(tables={"separation_chart": nothing})]) is None
